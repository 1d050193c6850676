"""Figures of a classifier on labelled texts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]  # label ids, one a text
Scores = NDArray[np.float32] | NDArray[np.float64]  # [texts, labels]


def accuracy(truth: Labels, predicted: Labels) -> float:
    """Return the share of right answers."""
    return float((truth == predicted).mean())


def f1_macro(truth: Labels, predicted: Labels, labels: int) -> float:
    """Return the mean over *labels* of F1; 0 for a label that is neither true nor predicted anywhere."""
    scores = []
    for label in range(labels):
        right = int(((truth == label) & (predicted == label)).sum())
        named = int((truth == label).sum() + (predicted == label).sum())
        scores.append(2 * right / named if named else 0.0)
    return float(np.mean(scores))


def agreement(first: Scores, second: Scores) -> float:
    """Return the share of texts for which two sets of scores [texts, labels] name the same label."""
    return float((first.argmax(axis=1) == second.argmax(axis=1)).mean())


def label_ids(labels: Sequence[int]) -> Labels:
    """Return *labels* as an array."""
    return np.asarray(labels, dtype=np.int64)
