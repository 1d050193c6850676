"""Figures of a classifier on labelled texts."""

from collections.abc import Sequence
from typing import NamedTuple

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


class Alike(NamedTuple):
    """How a version agrees with what it was made from."""

    share: float  # of the texts that are no ties, named alike
    ties: int
    difference: float  # largest of a probability

    def metrics(self) -> dict[str, float]:
        """Return what a manifest records of it."""
        return {
            "agreement_source": self.share,
            "ties_source": float(self.ties),
            "probability_difference_source": self.difference,
        }


def alike(source: Scores, version: Scores, within: float) -> Alike:
    """Compare two sets of scores [texts, labels].

    A tie is a text whose two best labels *source* has closer together than *within*, and whose scores differ by less.
    """
    best: NDArray[np.float64] = np.sort(source.astype(np.float64), axis=1)
    apart = np.abs(source - version).max(axis=1)
    ties = (best[:, -1] - best[:, -2] <= within) & (apart <= within)
    same = source.argmax(axis=1) == version.argmax(axis=1)
    share = float(same[~ties].mean()) if not ties.all() else 1.0
    return Alike(share, int(ties.sum()), float(apart.max()))


def label_ids(labels: Sequence[int]) -> Labels:
    """Return *labels* as an array."""
    return np.asarray(labels, dtype=np.int64)
