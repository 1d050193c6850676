"""Shares with their intervals, and quantiles: plain arithmetic on counts."""

import math
from collections.abc import Sequence
from typing import Any, Final

Z_95: Final = 1.959963984540054


def wilson(correct: int, count: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of the share *correct* / *count*."""
    share, square = correct / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which *share* of *values* lie, linear between neighbours; None for no values."""
    if not values:
        return None
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def accuracy_of(right: int, count: int) -> dict[str, Any]:
    """Return count, correct, accuracy and Wilson's 95 % interval; None where there is no label."""
    lower, upper = wilson(right, count) if count else (None, None)
    return {
        "labels": count,
        "correct": right,
        "accuracy": right / count if count else None,
        "lower": lower,
        "upper": upper,
    }
