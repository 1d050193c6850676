"""The Open Inference Protocol's request and response, JSON or with Triton's binary tensors. No numpy, no HTTP."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Final

import orjson
from pydantic import Field

from gateway import strict_json
from gateway.problems import Problem
from gateway.schemas import MAX_TEXTS, Body, read_body

INPUT: Final = "text"
OUTPUTS: Final = ("label", "confidence", "probabilities")


class Tensor(Body):
    """One input; its data is in ``data``, or in the binary part, ``binary_data_size`` bytes of it."""

    name: Annotated[str, Field(max_length=64)]
    shape: Annotated[list[Annotated[int, Field(ge=1, le=MAX_TEXTS)]], Field(min_length=1, max_length=2)]
    datatype: Annotated[str, Field(max_length=16)]
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class WantedOutput(Body):
    """One output the caller asks for."""

    name: Annotated[str, Field(max_length=64)]
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferBody(Body):
    """The JSON of an inference request."""

    id: Annotated[str, Field(max_length=128)] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: Annotated[list[Tensor], Field(min_length=1, max_length=1)]
    outputs: list[WantedOutput] = Field(default_factory=list, max_length=len(OUTPUTS))


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What was asked: texts, and which outputs in which form (name to whether it is binary)."""

    id: str | None
    texts: list[str]
    outputs: dict[str, bool]


def read_request(body: bytes, json_length: int | None) -> InferRequest:
    """Read *body*, whose first *json_length* bytes are JSON (None: all of it).

    Raises:
        Problem: it is not such a request, or its tensor is not texts.

    """
    if json_length is not None and json_length > len(body):
        raise Problem("invalid_tensor")
    asked = read_body(InferBody, strict_json.parse(body if json_length is None else body[:json_length]))
    binary = b"" if json_length is None else body[json_length:]
    return InferRequest(asked.id, _texts(asked.inputs[0], binary), _outputs(asked))


def _texts(tensor: Tensor, binary: bytes) -> list[str]:
    if tensor.name != INPUT:
        raise Problem.of_field("/inputs/0/name", "invalid_value")
    if tensor.datatype != "BYTES":
        raise Problem.of_field("/inputs/0/datatype", "invalid_value")
    size = tensor.parameters.get("binary_data_size")
    if (size is None) == (tensor.data is None) or (size is not None and size != len(binary)):
        raise Problem("invalid_tensor")
    texts = _unpack(binary) if tensor.data is None else _flatten(tensor.data)
    if len(texts) != prod(tensor.shape):
        raise Problem("invalid_tensor")
    return texts


def _flatten(data: list[Any]) -> list[str]:
    flat = [item for row in data for item in row] if all(isinstance(row, list) for row in data) else data
    if not all(isinstance(item, str) for item in flat):
        raise Problem.of_field("/inputs/0/data", "wrong_type")
    return flat


def _unpack(binary: bytes) -> list[str]:
    """Split elements of 4 bytes little-endian length, then that many bytes of UTF-8."""
    texts, position = [], 0
    while position < len(binary):
        end = position + 4
        if end > len(binary):
            raise Problem("invalid_tensor")
        (length,) = struct.unpack_from("<I", binary, position)
        position, end = end, end + length
        if end > len(binary):
            raise Problem("invalid_tensor")
        try:
            texts.append(binary[position:end].decode())
        except UnicodeDecodeError:
            raise Problem("invalid_utf8") from None
        position = end
    if any("\0" in text for text in texts):
        raise Problem("control_char")
    return texts


def _outputs(asked: InferBody) -> dict[str, bool]:
    binary = asked.parameters.get("binary_data_output") is True
    if not asked.outputs:
        return dict.fromkeys(OUTPUTS, binary)
    for position, output in enumerate(asked.outputs):
        if output.name not in OUTPUTS:
            raise Problem.of_field(f"/outputs/{position}/name", "invalid_value")
    return {output.name: output.parameters.get("binary_data", binary) is True for output in asked.outputs}


def write_response(asked: InferRequest, model: str, answers: Sequence[bytes]) -> tuple[bytes, int | None]:
    """Return the response's body and, where tensors follow the JSON, how long the JSON is.

    Raises:
        Problem: the answers come from several versions, or name other labels, so they make no tensor.

    """
    predictions = [orjson.loads(answer) for answer in answers]
    if len({(one["version"], tuple(one["probabilities"])) for one in predictions}) > 1:
        raise Problem("version_changed")
    tensors, parts = [], []
    for name, binary in asked.outputs.items():
        tensor, values = _tensor(name, predictions)
        if binary:
            parts.append(_pack(tensor["datatype"], values))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = values
        tensors.append(tensor)
    document = {"model_name": model, "model_version": predictions[0]["version"], "outputs": tensors}
    if asked.id is not None:
        document["id"] = asked.id
    head = orjson.dumps(document)
    return b"".join([head, *parts]), len(head) if parts else None


def _tensor(name: str, predictions: list[dict[str, Any]]) -> tuple[dict[str, Any], list[Any]]:
    count = len(predictions)
    if name != "probabilities":
        datatype = "BYTES" if name == "label" else "FP32"
        return {"name": name, "datatype": datatype, "shape": [count]}, [prediction[name] for prediction in predictions]
    rows = [list(prediction[name].values()) for prediction in predictions]
    return {"name": name, "datatype": "FP32", "shape": [count, len(rows[0])]}, [value for row in rows for value in row]


def _pack(datatype: str, values: list[Any]) -> bytes:
    if datatype == "FP32":
        return struct.pack(f"<{len(values)}f", *values)
    encoded = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)


def describe_tensors(labels: int) -> dict[str, Any]:
    """Return the metadata of inputs and outputs; *labels* is how many probabilities a row has, -1 if unknown."""
    return {
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, labels]},
        ],
    }
