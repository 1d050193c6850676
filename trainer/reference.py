"""How held-out texts and answers looked when a version was made: what the monitor compares with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from broker.manifest import Calibration, Histogram, ReferenceProfile
from broker.text import TextStatistics
from trainer.onnx_model import Probabilities

BINS = 10
KNOTS = 10


def profile(  # noqa: PLR0913 by name only
    *,
    statistics: Sequence[TextStatistics],
    tokens: Sequence[int],
    probabilities: Probabilities,
    truth: Sequence[int],
    labels: Sequence[str],
    source: str,
) -> ReferenceProfile:
    """Return the profile of texts whose label ids are *truth*; every sequence has one item a text."""
    confidence = probabilities.max(axis=1).astype(float)
    predicted = probabilities.argmax(axis=1)
    return ReferenceProfile(
        count=len(truth),
        source=source,
        features={
            "characters": histogram([each.characters for each in statistics]),
            "words": histogram([each.words for each in statistics]),
            "tokens": histogram(tokens),
            "oov_ratio": histogram([each.oov_ratio for each in statistics]),
            "non_latin_ratio": histogram([each.non_latin_ratio for each in statistics]),
            "confidence": histogram(confidence),
            "entropy": histogram(entropy(probabilities)),
        },
        labels={label: int((predicted == position).sum()) for position, label in enumerate(labels)},
        calibration=calibration(confidence, predicted == np.asarray(truth)),
    )


def entropy(probabilities: Probabilities) -> NDArray[np.float64]:
    """Return the entropy of each row in nats: 0 when certain, ln(labels) when every label is as likely."""
    shares = probabilities.astype(float)
    nats: NDArray[np.float64] = -(shares * np.log(np.maximum(shares, np.finfo(float).tiny))).sum(axis=1)
    return nats


def histogram(values: ArrayLike) -> Histogram:
    """Count *values* in up to ten bins of about the same number.

    Ties make fewer bins: an edge is there once, and never at the largest value, where the last bin would be empty.
    """
    found = np.asarray(values, dtype=float)
    quantiles = np.quantile(found, np.arange(1, BINS) / BINS, method="inverted_cdf")
    edges = np.unique(quantiles[quantiles < found.max()])
    counts = np.bincount(np.searchsorted(edges, found, side="left"), minlength=len(edges) + 1)
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def calibration(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Calibration:
    """Return the share of right answers by confidence, never falling (pool adjacent violators).

    Starts from ten groups of equal number and like confidence.
    """
    order = np.argsort(confidence, kind="stable")
    pools: list[tuple[float, float, int]] = []  # mean confidence, share right, texts
    for part in np.array_split(order, min(KNOTS, len(order))):
        pool = (float(confidence[part].mean()), float(right[part].mean()), len(part))
        while pools and (pools[-1][1] >= pool[1] or pools[-1][0] >= pool[0]):
            pool = _pooled(pools.pop(), pool)
        pools.append(pool)
    return Calibration(confidence=tuple(pool[0] for pool in pools), accuracy=tuple(pool[1] for pool in pools))


def _pooled(first: tuple[float, float, int], second: tuple[float, float, int]) -> tuple[float, float, int]:
    count = first[2] + second[2]
    share = first[2] / count
    return share * first[0] + (1 - share) * second[0], share * first[1] + (1 - share) * second[1], count
