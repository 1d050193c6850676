"""The texts by which a worker knows that a version still is what was trained."""

from collections.abc import Sequence
from typing import Final

from broker.manifest import Golden, GoldenText
from trainer.onnx_model import Probabilities
from trainer.splits import Example

FILE: Final = "golden.json"
TEXTS: Final = 16
LONGEST: Final = 200  # characters
CERTAIN: Final = 0.8  # a label that hangs by a hair may change with the CPU


def choose(examples: Sequence[Example], probabilities: Probabilities) -> bytes:
    """Return ``golden.json``: short texts of *examples*, as many of each label as there are, answered with certainty.

    Where hardly any is certain, the most certain ones.
    """
    order = sorted(range(len(examples)), key=lambda at: -float(probabilities[at].max()))
    short = [at for at in order if len(examples[at].text) <= LONGEST] or order
    certain = [at for at in short if probabilities[at].max() >= CERTAIN]
    by_label: dict[int, list[int]] = {}
    for at in sorted(certain or short[:TEXTS]):
        by_label.setdefault(int(probabilities[at].argmax()), []).append(at)
    each = max(1, TEXTS // len(by_label))
    chosen = [at for label in sorted(by_label) for at in by_label[label][:each]]
    texts = tuple(
        GoldenText(text=examples[at].text, probabilities=tuple(round(float(p), 6) for p in probabilities[at]))
        for at in chosen[:TEXTS]
    )
    return Golden(texts=texts).model_dump_json(indent=1).encode() + b"\n"
