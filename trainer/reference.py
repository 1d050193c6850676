"""How held-out texts and answers looked when a version was made: what the monitor compares with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from broker.manifest import Calibration, Histogram, ReferenceProfile
from broker.text import TextStatistics
from trainer.onnx_model import Probabilities

BINS = 10
FINE_BINS = 20
TAILS = (0.01, 0.02, 0.05, 0.95, 0.98, 0.99)  # edges besides: one text in ten from elsewhere first shows out there
KNOTS = 10


def profile(  # noqa: PLR0913 by name only
    *,
    statistics: Sequence[TextStatistics],
    tokens: Sequence[int],
    probabilities: Probabilities,
    truth: Sequence[int],
    labels: Sequence[str],
    source: str,
    coordinates: NDArray[np.float64] | None = None,
) -> ReferenceProfile:
    """Return the profile of texts whose label ids are *truth*; every sequence has one item a text.

    *coordinates* [texts, coordinates] become the features embedding_0, embedding_1, ...
    """
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
        }
        | embedding(coordinates),
        labels={label: int((predicted == position).sum()) for position, label in enumerate(labels)},
        calibration=calibration(confidence, predicted == np.asarray(truth)),
    )


def entropy(probabilities: Probabilities) -> NDArray[np.float64]:
    """Return the entropy of each row in nats: 0 when certain, ln(labels) when every label is as likely."""
    shares = probabilities.astype(float)
    nats: NDArray[np.float64] = -(shares * np.log(np.maximum(shares, np.finfo(float).tiny))).sum(axis=1)
    return nats


def embedding(coordinates: NDArray[np.float64] | None) -> dict[str, Histogram]:
    """Return a histogram for each column of *coordinates*, in bins fine enough to see a tail grow."""
    columns = () if coordinates is None else coordinates.T
    return {f"embedding_{number}": histogram(column, FINE_BINS) for number, column in enumerate(columns)}


def histogram(values: ArrayLike, bins: int = BINS) -> Histogram:
    """Count *values* in up to *bins* bins of about the same number, the outer ones divided at `TAILS`.

    Ties make fewer bins: an edge is there once, and never at the largest value, where the last bin would be empty.
    """
    found = np.asarray(values, dtype=float)
    quantiles = np.quantile(found, np.union1d(np.arange(1, bins) / bins, TAILS), method="inverted_cdf")
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
