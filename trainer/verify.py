"""What must hold before a graph may be served, measured."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from broker.errors import ObservaError
from trainer.onnx_model import TransformerGraph, softmax

INVARIANCE_LIMIT = 1e-5  # largest change of a probability that company in a batch may cause
STRANGERS_LIMIT = 1e-4  # the same, of a model that was made elsewhere
LEAST_AGREEMENT_INT8 = 0.99  # of labels, with the graph in single precision
LEAST_AGREEMENT_EXPORT = 0.999  # of labels, with the model that was exported
ROOT = Path(__file__).parents[1]
LARGEST_BATCH = 16
MOST_PADDING = 17  # columns


class NotGoodEnoughError(ObservaError):
    """A trained model does not keep what a version must promise."""


def invariance_difference(model: TransformerGraph, texts: Sequence[str], seed: int) -> float:
    """Return the largest change of any probability between a text alone and the same text in company.

    Every text is once in a random batch of up to 16 others, with up to 17 columns of padding more than needed.
    """
    draw = np.random.default_rng(seed)
    rows = model.encode(texts)
    alone = [softmax(model.logits([row]))[0] for row in rows]
    order = draw.permutation(len(rows))
    largest = 0.0
    start = 0
    while start < len(order):
        batch = order[start : start + int(draw.integers(2, LARGEST_BATCH + 1))]
        together = softmax(model.logits([rows[at] for at in batch], padding=int(draw.integers(MOST_PADDING + 1))))
        largest = max(largest, *(float(np.abs(alone[at] - row).max()) for at, row in zip(batch, together, strict=True)))
        start += len(batch)
    return largest


def require_sound(folder: Path, tolerance: float = INVARIANCE_LIMIT) -> None:
    """Let the worker's own verifier try the version in *folder*.

    Raises:
        NotGoodEnoughError: a check failed; the message names the first.

    """
    command = [sys.executable, "-m", "worker.verify", str(folder), "--json", "--tolerance", str(tolerance)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 a fixed command
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [each for each in checks if not each["passed"]]
    if failed or done.returncode:
        first = failed[0] if failed else {"name": "verifier", "found": done.stderr.strip()[-200:], "wanted": "an end"}
        raise NotGoodEnoughError(f"{first['name']}: {first['found']}; wanted: {first['wanted']}; nothing was written")


def require(name: str, found: float, least: float) -> None:
    """Refuse a figure below its promise.

    Raises:
        NotGoodEnoughError: *found* is less than *least*.

    """
    if found < least:
        raise NotGoodEnoughError(f"{name} is {found:.4f}, promised is {least:.4f}; nothing was written")
