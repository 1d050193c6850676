"""A session from bytes that were checked, on one thread, that can read no other file."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import onnxruntime

from broker.errors import ModelRefusedError

# Field numbers of onnx.proto: where in each message tensors and further graphs hide.
_MODEL: Final = "model"
_TENSOR: Final = "tensor"
_INSIDE: Final[dict[str, dict[int, str]]] = {
    _MODEL: {7: "graph", 25: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor
_OPERATOR, _DOMAIN = 4, 7  # fields of a node

# Whose operators a graph may use. Of Microsoft's, only what our exports need: others read files or run code of theirs.
STANDARD: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
MICROSOFT: Final = frozenset({"FusedMatMul", "MatMulIntegerToFloat", "Tokenizer"})
MOST_NODES: Final = 50_000  # a large encoder has some thousands
DEEPEST: Final = 32  # messages in messages; a graph within a graph's attribute is three
MOST_BYTES: Final = 2_000_000_000  # what one protocol buffers message can hold


def open_session(content: bytes) -> onnxruntime.InferenceSession:
    """Return a one-thread session of the model in *content*.

    Raises:
        ModelRefusedError: the model is no ONNX file, is too large, refers to data outside itself, or uses operators
            that are not known to do no more than arithmetic.

    """
    if len(content) > MOST_BYTES:
        raise ModelRefusedError(f"model.onnx has {len(content)} bytes, at most {MOST_BYTES} are read")
    seen = _Seen()
    try:
        _look(memoryview(content), _MODEL, seen, 0)
    except (IndexError, ValueError) as error:
        raise ModelRefusedError("model.onnx is not an ONNX model") from error
    if seen.outside:
        raise ModelRefusedError("model.onnx keeps data in another file; export it as one file")
    if unknown := sorted(name for name in seen.operators if not _is_known(*name)):
        domain, operator = unknown[0]
        raise ModelRefusedError(
            f"model.onnx uses the operator {domain}.{operator}, which is none of those that are run"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a second thread doubles the CPU time of a text; a second worker does not
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; ONNX Runtime would write it a second time, in colour
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    session._model_bytes = None  # noqa: SLF001 it keeps the file, in case it must run elsewhere: as much as its weights
    return session


@dataclass(slots=True)
class _Seen:
    outside: bool = False  # a tensor has its data elsewhere
    nodes: int = 0
    operators: set[tuple[str, str]] = field(default_factory=set)  # domain, operator

    def add_node(self, message: memoryview) -> None:
        names = {number: _text(value) for number, value in _fields(message) if number in {_OPERATOR, _DOMAIN}}
        self.operators.add((names.get(_DOMAIN, ""), names.get(_OPERATOR, "")))
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise ModelRefusedError(f"model.onnx has more than {MOST_NODES} nodes")


def _is_known(domain: str, operator: str) -> bool:
    return domain in STANDARD or (domain == "com.microsoft" and operator in MICROSOFT)


def _look(message: memoryview, kind: str, seen: _Seen, depth: int) -> None:
    """Note what is in *message* and everything inside.

    Raises:
        ModelRefusedError: it is too large or nested too deeply.
        ValueError, IndexError: it is not a message.

    """
    if depth > DEEPEST:
        raise ModelRefusedError(f"model.onnx nests more than {DEEPEST} messages")
    for number, value in _fields(message):
        if kind == _TENSOR:
            seen.outside |= number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)
        elif number in _INSIDE[kind]:
            if not isinstance(value, memoryview):
                raise ValueError("a message was expected")
            _look(value, _INSIDE[kind][number], seen, depth + 1)
    if kind == "node":
        seen.add_node(message)


def _text(value: int | memoryview) -> str:
    if not isinstance(value, memoryview):
        raise ValueError("a name was expected")  # noqa: TRY004 - what is no model, not a mistake of ours
    return bytes(value[:100]).decode(errors="replace")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and value of each field of a protocol buffers *message*.

    Raises:
        ValueError, IndexError: it is not one.

    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire_type = key >> 3, key & 7
        match wire_type:
            case 0:
                value, at = _varint(message, at)
                yield number, value
            case 1:
                at += 8
            case 2:
                length, at = _varint(message, at)
                if at + length > len(message):
                    raise ValueError("a field is longer than its message")
                yield number, message[at : at + length]
                at += length
            case 5:
                at += 4
            case _:
                raise ValueError(f"no wire type {wire_type}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 the highest bit says whether a byte follows
            return value, at
        shift += 7
