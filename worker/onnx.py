"""A session from bytes that were checked, on one thread, that can read no other file."""

from collections.abc import Iterator
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


def open_session(content: bytes) -> onnxruntime.InferenceSession:
    """Return a one-thread session of the model in *content*.

    Raises:
        ModelRefusedError: the model is no ONNX file or refers to data outside itself.

    """
    try:
        outside = _refers_outside(memoryview(content), _MODEL)
    except (IndexError, ValueError) as error:
        raise ModelRefusedError("model.onnx is not an ONNX model") from error
    if outside:
        raise ModelRefusedError("model.onnx keeps data in another file; export it as one file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a second thread doubles the CPU time of a text; a second worker does not
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; ONNX Runtime would write it a second time, in colour
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _refers_outside(message: memoryview, kind: str) -> bool:
    """Tell whether any tensor in *message* has its data elsewhere."""
    for number, value in _fields(message):
        if kind == _TENSOR:
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return True
        elif number in _INSIDE[kind]:
            if not isinstance(value, memoryview):
                raise ValueError("a message was expected")
            if _refers_outside(value, _INSIDE[kind][number]):
                return True
    return False


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
