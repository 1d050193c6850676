"""The texts by which a worker knows that a version still is what was trained.

They are made up, the same for every model: a folder travels, and texts of data sets or callers must not go along.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from broker.manifest import Golden, GoldenText
from trainer.onnx_model import Probabilities

FILE: Final = "golden.json"
MADE_UP: Final = tuple(Path(__file__).with_name("golden.txt").read_text(encoding="utf-8").splitlines())
TEXTS: Final = 16
CERTAIN: Final = 0.8  # a label that hangs by a hair may change with the CPU


def choose(texts: Sequence[str], probabilities: Probabilities) -> bytes:
    """Return ``golden.json``: some of *texts*, as many of each label as there are, answered with certainty.

    Where none is certain, the most certain ones.
    """
    order = sorted(range(len(texts)), key=lambda at: -float(probabilities[at].max()))
    certain = [at for at in order if probabilities[at].max() >= CERTAIN]
    by_label: dict[int, list[int]] = {}
    for at in sorted(certain or order[:TEXTS]):
        by_label.setdefault(int(probabilities[at].argmax()), []).append(at)
    each = max(1, TEXTS // len(by_label))
    chosen = [at for label in sorted(by_label) for at in by_label[label][:each]]
    golden = tuple(
        GoldenText(text=texts[at], probabilities=tuple(round(float(p), 6) for p in probabilities[at]))
        for at in chosen[:TEXTS]
    )
    return Golden(texts=golden).model_dump_json(indent=1).encode() + b"\n"
