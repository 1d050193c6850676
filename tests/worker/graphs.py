"""ONNX graphs and a tokenizer small enough to be written here, so that the tests need no training library."""

import json
import struct

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

FLOAT, INT64, STRING = 1, 7, 8  # element types of onnx.proto
EXTERNAL = 1


def message(*fields):
    """Encode (number, value) pairs; whole numbers as varints, all else length first."""
    return b"".join(_field(number, value) for number, value in fields)


def transformer(*, last="Identity", external=False, pooled=False):
    """input_ids, attention_mask [N, L] to logits [N, 2]: the sum of the ids that are not padding, over 10, and 1.

    That sum itself [N, 1] is the pooled output.
    """
    return model(
        [
            node("Mul", ["input_ids", "attention_mask"], ["seen"]),
            node("Cast", ["seen"], ["numbers"], to=FLOAT),
            node("ReduceSum", ["numbers", "axis"], ["sum"]),
            *([node("Identity", ["sum"], ["pooled"])] if pooled else []),
            node("Mul", ["sum", "scale"], ["sums"]),
            node("Add", ["sums", "offset"], ["raw"]),
            node(last, ["raw"], ["logits"]),
        ],
        [
            tensor("axis", INT64, [1], ints=[1]),
            tensor("scale", FLOAT, [2], floats=[0.1, 0.0], external=external),
            tensor("offset", FLOAT, [2], floats=[0.0, -1.0 if last == "Sqrt" else 1.0]),
        ],
        {"input_ids": (INT64, ["n", "l"]), "attention_mask": (INT64, ["n", "l"])},
        {"logits": (FLOAT, ["n", 2])} | ({"pooled": (FLOAT, ["n", 1])} if pooled else {}),
    )


def linear(*, last="Identity"):
    """Text [N, 1] to probabilities [N, 2]: all for the second label where the text is exactly ``good``."""
    return model(
        [
            node("Equal", ["text", "good"], ["is_good"]),
            node("Cast", ["is_good"], ["one"], to=FLOAT),
            node("Sub", ["unit", "one"], ["other"]),
            node("Concat", ["other", "one"], ["pair"], axis=1),
            node("Sub", ["pair", "shift"], ["shifted"]),
            node(last, ["shifted"], ["probabilities"]),
        ],
        [
            message((1, 1), (2, STRING), (6, b"good"), (8, "good")),
            tensor("unit", FLOAT, [1], floats=[1.0]),
            tensor("shift", FLOAT, [1], floats=[2.0 if last == "Sqrt" else 0.0]),
        ],
        {"text": (STRING, ["n", 1])},
        {"probabilities": (FLOAT, ["n", 2])},
    )


def words_tokenizer(words=("good", "bad", "film")):
    """tokenizer.json of whole words between [CLS] and [SEP]."""
    vocabulary = {token: position for position, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return json.dumps(json.loads(tokenizer.to_str())).encode()


def model(nodes, tensors, inputs, outputs):
    graph = message(
        *((1, n) for n in nodes),
        (2, "graph"),
        *((5, t) for t in tensors),
        *((11, value(name, *kind)) for name, kind in inputs.items()),
        *((12, value(name, *kind)) for name, kind in outputs.items()),
    )
    return message((1, 9), (7, graph), (8, message((1, ""), (2, 19))))


def node(operator, inputs, outputs, *, domain="", **attributes):
    whole = [(5, message((1, name), (3, number), (20, 2))) for name, number in attributes.items()]
    return message(
        *((1, name) for name in inputs), *((2, name) for name in outputs), (4, operator), (7, domain), *whole
    )


def tensor(name, kind, shape, *, floats=(), ints=(), external=False):  # noqa: PLR0913 by name
    content = struct.pack(f"<{len(floats)}f", *floats) + struct.pack(f"<{len(ints)}q", *ints)
    head = [*((1, size) for size in shape), (2, kind), (8, name)]
    if external:
        return message(*head, (13, message((1, "location"), (2, "weights.bin"))), (14, EXTERNAL))
    return message(*head, (9, content))


def value(name, kind, shape):
    sizes = [(1, message((2, size) if isinstance(size, str) else (1, size))) for size in shape]
    return message((1, name), (2, message((1, message((1, kind), (2, message(*sizes)))))))


def _field(number, value):
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number):
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
