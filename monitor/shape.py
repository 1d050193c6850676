"""Blocks of entries of one feature against its reference, at two sizes: what a level detector cannot see."""

from typing import Any, Final, NamedTuple

import numpy as np

from monitor.drift import Counts, enough, psi, psi_threshold

LONG: Final = 8  # blocks that are also tested together
QUIET_BLOCKS: Final = 4  # blocks in a row that end an alarm of their size...
QUIET: Final = 0.5  # ...each with less than this part of the threshold
MOST: Final = 0.5  # chance that unchanged traffic passes, however short the run length


class Ease(NamedTuple):
    """By what a threshold is eased: entries that repeat each other, and hours of a day that differ (deviations)."""

    inflation: float = 1.0
    swing: float = 0.0  # the PSI of a level that moved by so little is about its square


class Tested(NamedTuple):
    """A block that was tested, and when its first entry came: what made it strange began then or later."""

    score: float
    threshold: float
    counts: Counts
    since_ms: int


NONE: Final = Ease()


class ShapeWatch:
    """PSI on blocks and on `LONG` blocks together, each at half the false alarms; begins and ends with hysteresis."""

    def __init__(self, reference: Counts) -> None:
        self._reference = reference
        self._long: Counts = np.zeros(len(reference), dtype=np.int64)
        self._blocks = 0  # in the long one
        self._since_ms = 0  # of the long one
        self._hot = [False, False]
        self._quiet = [0, 0]

    @property
    def active(self) -> bool:
        """Whether a block of either size was strange and not enough were calm since."""
        return any(self._hot)

    def block(self, counts: Counts, alpha: float, since_ms: int, ease: Ease = NONE) -> Tested | None:
        """Take a full block that began at *since_ms*; return the strangest of what was tested; None: too few."""
        self._long += counts
        self._since_ms = self._since_ms if self._blocks else since_ms
        self._blocks += 1
        tested = [self._test(0, counts, min(alpha / 2, MOST), since_ms, ease)]
        if self._blocks == LONG:
            tested.append(self._test(1, self._long.copy(), min(alpha / 2 * LONG, MOST), self._since_ms, ease))
            self._long[:] = 0
            self._blocks = 0
        found = [test for test in tested if test is not None]
        return max(found, key=lambda test: test.score / test.threshold) if found else None

    def _test(self, size: int, counts: Counts, alpha: float, since_ms: int, ease: Ease) -> Tested | None:
        if not enough(counts):
            return None
        score = psi(self._reference, counts)
        threshold = psi_threshold(self._reference, counts, alpha) * ease.inflation + ease.swing**2
        self._quiet[size] = self._quiet[size] + 1 if score < QUIET * threshold else 0
        if score > threshold:
            self._hot[size] = True
        elif self._quiet[size] >= QUIET_BLOCKS:
            self._hot[size] = False
        return Tested(score, threshold, counts, since_ms)

    def dump(self) -> list[Any]:
        """Return the state as plain values."""
        return [self._long.tolist(), self._blocks, self._hot, self._quiet, self._since_ms]

    def load(self, state: list[Any]) -> None:
        """Take the state back."""
        long, self._blocks, self._hot, self._quiet, self._since_ms = state
        self._long = np.array(long, dtype=np.int64)
