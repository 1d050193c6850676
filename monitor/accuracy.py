"""How often the model was right, and how sure we may be of that. Pure functions on counts."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple, TypedDict

Confusion = Mapping[str, Mapping[str, int]]  # true label to predicted label to count

Z_95: Final = 1.959963984540054  # two-sided 95 %
BINS: Final = 15  # of confidence, equal width
MICRO: Final = 1_000_000  # confidences are summed as millionths, so that sums are exact in any order


class Interval(NamedTuple):
    """A share and its bounds."""

    point: float
    lower: float
    upper: float


class LabelScores(TypedDict):
    """Of one label; a score without a denominator is None, never 0."""

    precision: float | None
    recall: float | None
    f1: float | None
    labelled: int
    predicted: int


def wilson(correct: int, count: int, z: float = Z_95) -> Interval:
    """Return the share *correct* / *count* with Wilson's score interval.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), p. 209.
    """
    share = correct / count
    weight = 1 + z * z / count
    centre = (share + z * z / (2 * count)) / weight
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / weight
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def alarm_limit(count: int, target: float, z: float) -> int:
    """Return the largest number of right answers among *count* whose upper Wilson bound is below *target*, or -1."""
    low, high = -1, count
    while low < high:
        middle = (low + high + 1) // 2
        if wilson(middle, count, z).upper < target:
            low = middle
        else:
            high = middle - 1
    return low


def scores(confusion: Confusion) -> dict[str, LabelScores]:
    """Return precision, recall and F1 of every label that was true or predicted."""
    predicted: dict[str, int] = {}
    for row in confusion.values():
        for label, count in row.items():
            predicted[label] = predicted.get(label, 0) + count
    result: dict[str, LabelScores] = {}
    for label in sorted(predicted.keys() | confusion.keys()):
        row = confusion.get(label, {})
        hits, labelled = row.get(label, 0), sum(row.values())
        named = predicted.get(label, 0)
        result[label] = LabelScores(
            precision=_ratio(hits, named),
            recall=_ratio(hits, labelled),
            f1=_ratio(2 * hits, labelled + named),
            labelled=labelled,
            predicted=named,
        )
    return result


def macro(labels: Mapping[str, LabelScores]) -> dict[str, float | None]:
    """Return the plain mean of each score over the labels, one that is unknown counting as 0; None without labels."""
    count = len(labels)
    return {
        "precision": sum(found["precision"] or 0.0 for found in labels.values()) / count if count else None,
        "recall": sum(found["recall"] or 0.0 for found in labels.values()) / count if count else None,
        "f1": sum(found["f1"] or 0.0 for found in labels.values()) / count if count else None,
    }


def calibration_error(counts: list[int], confidence_micro: list[int], correct: list[int]) -> float | None:
    """Return the expected calibration error: the mean distance of confidence and accuracy over the bins, by weight."""
    total = sum(counts)
    if total <= 0:
        return None
    distance = sum(abs(hits - micro / MICRO) for micro, hits in zip(confidence_micro, correct, strict=True))
    return distance / total


def confidence_bin(micro: int) -> int:
    """Return the bin of a confidence in millionths; 1.0 belongs to the last bin."""
    return min(micro * BINS // MICRO, BINS - 1)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None
