"""The Open Inference Protocol's request and response, JSON or with Triton's binary tensors. No numpy, no HTTP."""

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Final

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway import strict_json
from gateway.problems import Problem
from gateway.schemas import MAX_TEXTS, read_body, read_texts

INPUT: Final = "text"
PLATFORM: Final = "observa"
OUTPUTS: Final = ("label", "confidence", "probabilities")
CONTENT_TYPES: Final = (None, "str", "base64")  # of an input, as MLServer names them
SHARED_MEMORY: Final = "shared_memory_region"


def _given(value: Any) -> Any:
    """Leave out what is null: the protocol's clients send null for what they leave out."""
    if value is None:
        return {}
    return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value


Parameters = Annotated[dict[str, Any], BeforeValidator(_given)]


class Foreign(BaseModel):
    """A JSON object of a protocol that is not ours: fields that we do not know are skipped, as it asks."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Tensor(Foreign):
    """One input; its data is in ``data``, or in the binary part, ``binary_data_size`` bytes of it."""

    name: Annotated[str, Field(max_length=64)]
    shape: Annotated[list[Annotated[int, Field(ge=1, le=MAX_TEXTS)]], Field(min_length=1, max_length=2)]
    datatype: Annotated[str, Field(max_length=16)]
    parameters: Parameters = Field(default_factory=dict)
    data: list[Any] | None = None


class WantedOutput(Foreign):
    """One output the caller asks for."""

    name: Annotated[str, Field(max_length=64)]
    parameters: Parameters = Field(default_factory=dict)


class InferBody(Foreign):
    """The JSON of an inference request."""

    id: Annotated[str, Field(max_length=128)] | None = None
    parameters: Parameters = Field(default_factory=dict)
    inputs: Annotated[list[Tensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[WantedOutput], Field(max_length=len(OUTPUTS))] | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """The form in which an output is wanted."""

    binary: bool = False
    classes: int = 0  # of each row the most probable ones, as "value:index:label"; 0: the tensor itself


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What was asked: texts, and which outputs in which form."""

    id: str | None
    texts: tuple[str, ...]
    outputs: dict[str, Output]


def read_request(body: bytes, json_length: int | None) -> InferRequest:
    """Read *body*, whose first *json_length* bytes are JSON (None: all of it).

    Raises:
        Problem: it is not such a request, or its tensor is not texts.

    """
    if json_length is not None and json_length > len(body):
        raise Problem("invalid_tensor")
    asked = read_body(InferBody, strict_json.parse(body if json_length is None else body[:json_length]))
    binary = b"" if json_length is None else body[json_length:]
    texts = read_texts(_texts(asked, asked.inputs[0], binary), "/inputs/0/data")
    return InferRequest(asked.id, texts, _outputs(asked))


def _texts(asked: InferBody, tensor: Tensor, binary: bytes) -> list[str]:
    if tensor.name != INPUT:
        raise Problem.of_field("/inputs/0/name", "invalid_value")
    if tensor.datatype != "BYTES":
        raise Problem.of_field("/inputs/0/datatype", "invalid_value")
    if SHARED_MEMORY in tensor.parameters:
        raise Problem.of_field("/inputs/0/parameters", "invalid_value")
    size = tensor.parameters.get("binary_data_size")
    if (size is None) == (tensor.data is None) or (size or 0) != len(binary):
        raise Problem("invalid_tensor")
    texts = _unpack(binary) if tensor.data is None else _flatten(tensor.data)
    if len(texts) != prod(tensor.shape):
        raise Problem("invalid_tensor")
    return _decoded(texts, tensor.parameters.get("content_type", asked.parameters.get("content_type")))


def _decoded(texts: list[str], content_type: Any) -> list[str]:
    if content_type not in CONTENT_TYPES:
        raise Problem.of_field("/inputs/0/parameters/content_type", "invalid_value")
    if content_type != "base64":
        return texts
    try:
        return [_text_of(base64.b64decode(text, validate=True)) for text in texts]
    except (binascii.Error, ValueError):
        raise Problem.of_field("/inputs/0/data", "invalid_value") from None


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
        texts.append(_text_of(binary[position:end]))
        position = end
    return texts


def _text_of(element: bytes) -> str:
    try:
        text = element.decode()
    except UnicodeDecodeError:
        raise Problem("invalid_utf8") from None
    if "\0" in text:
        raise Problem("control_char")
    return text


def _outputs(asked: InferBody) -> dict[str, Output]:
    binary = asked.parameters.get("binary_data_output") is True
    if not asked.outputs:
        return dict.fromkeys(OUTPUTS, Output(binary))
    return {wanted.name: _output(wanted, f"/outputs/{place}", binary) for place, wanted in enumerate(asked.outputs)}


def _output(wanted: WantedOutput, pointer: str, binary: bool) -> Output:  # noqa: FBT001 the call's own default
    classes = wanted.parameters.get("classification", 0)
    if wanted.name not in OUTPUTS:
        raise Problem.of_field(f"{pointer}/name", "invalid_value")
    is_count = type(classes) is int and classes >= 0
    if SHARED_MEMORY in wanted.parameters or not is_count or (classes and wanted.name != "probabilities"):
        raise Problem.of_field(f"{pointer}/parameters", "invalid_value")
    return Output(wanted.parameters.get("binary_data", binary) is True, classes)


def write_response(
    asked: InferRequest, model: str, predictions: Sequence[Mapping[str, Any]]
) -> tuple[bytes, int | None]:
    """Return the response's body and, where tensors follow the JSON, how long the JSON is.

    Raises:
        Problem: the predictions come from several versions, or name other labels, so they make no tensor.

    """
    if len({(one["version"], tuple(one["probabilities"])) for one in predictions}) > 1:
        raise Problem("version_changed")
    tensors, parts = [], []
    for name, output in asked.outputs.items():
        tensor, values = _tensor(name, predictions, output.classes)
        if output.binary:
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


def _tensor(name: str, predictions: Sequence[Mapping[str, Any]], classes: int) -> tuple[dict[str, Any], list[Any]]:
    count = len(predictions)
    if name != "probabilities":
        datatype = "BYTES" if name == "label" else "FP32"
        return {"name": name, "datatype": datatype, "shape": [count]}, [prediction[name] for prediction in predictions]
    probabilities = [prediction[name] for prediction in predictions]
    rows = [_most_probable(row, classes) if classes else list(row.values()) for row in probabilities]
    datatype = "BYTES" if classes else "FP32"
    return {"name": name, "datatype": datatype, "shape": [count, len(rows[0])]}, [
        value for row in rows for value in row
    ]


def _most_probable(probabilities: dict[str, float], classes: int) -> list[Any]:
    """Return classes as Triton's classification extension writes them, the most probable first."""
    order = sorted(enumerate(probabilities.items()), key=lambda item: -item[1][1])
    return [f"{value:f}:{place}:{label}" for place, (label, value) in order[:classes]]


def _pack(datatype: str, values: list[Any]) -> bytes:
    if datatype == "FP32":
        return struct.pack(f"<{len(values)}f", *values)
    encoded = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)


def describe_config(model: str, labels: int) -> dict[str, Any]:
    """Return the model's configuration as Triton's extension writes it; *labels* as of `describe_tensors`."""
    datatypes = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32"}
    tensors = {
        kind.removesuffix("s"): [
            {"name": one["name"], "data_type": datatypes[one["datatype"]], "dims": one["shape"][1:] or [1]}
            for one in found
        ]
        for kind, found in describe_tensors(labels).items()
    }
    return {"name": model, "platform": PLATFORM, "backend": PLATFORM, "max_batch_size": MAX_TEXTS, **tensors}


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
