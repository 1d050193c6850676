"""What must hold before a graph may be served, measured."""

from collections.abc import Sequence

import numpy as np

from broker.errors import ObservaError
from trainer.onnx_model import TransformerGraph, softmax

INVARIANCE_LIMIT = 1e-5  # largest change of a probability that company in a batch may cause
LEAST_AGREEMENT_INT8 = 0.99  # of labels, with the graph in single precision
LEAST_AGREEMENT_EXPORT = 0.999  # of labels, with the model that was exported
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


def require(name: str, found: float, least: float) -> None:
    """Refuse a figure below its promise.

    Raises:
        NotGoodEnoughError: *found* is less than *least*.

    """
    if found < least:
        raise NotGoodEnoughError(f"{name} is {found:.4f}, promised is {least:.4f}; nothing was written")
