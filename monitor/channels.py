"""How a feature is judged: scores and bets of its bins, with heights for a stated time between false alarms."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor import run_length
from monitor.detectors import CALM, HOLD
from monitor.drift import Counts
from monitor.ranks import Stakes, middle_ranks

Scores = NDArray[np.int64]

LEAST_SHARE: Final = 0.06  # of a bin that is tested for its shape: 5 entries of 100


@dataclass(frozen=True, slots=True)
class Side:
    """One direction in which a feature may leave: a score a bin, and the heights at which a CUSUM begins an alarm."""

    scores: Scores
    heights: run_length.Heights
    run: float  # entries between false alarms

    @classmethod
    def of(cls, counts: Counts, scores: Scores, smallest: float, run: float) -> "Side":
        """Solve the heights for *run* entries between false alarms and shifts above *smallest* deviations."""
        return cls(scores, run_length.heights(counts, scores, run, smallest), run)

    def steps(self, swing: int) -> Scores:
        """Return the step of each bin where the hours of a day differ by *swing* scores."""
        return self.scores - self.heights.allowance - swing

    def at(self, multiple: float, inflation: float) -> float:
        """Return the height for a run *multiple* times as long, of entries that repeat each other *inflation* times.

        It is whole, or infinity: a side whose rare bin only takes away never begins an alarm.
        """
        return float(np.ceil(self.heights.of(self.run * multiple) * inflation))

    def calm(self, swing: int) -> int:
        """Return the sum of `HOLD` steps below which a block says that the feature is back."""
        return -round(HOLD * (self.heights.allowance + swing) * (1 - CALM))


@dataclass(frozen=True, slots=True)
class Channel:
    """The sides of one feature, or of one label, and what its ranks are worth."""

    sides: tuple[Side, ...]
    ranks: NDArray[np.float64]  # one a bin
    stakes: Stakes

    @classmethod
    def of_ranks(cls, counts: Counts, run: float) -> "Channel":
        """Watch an ordered feature: both directions of its level, and each of its tails, *run* entries a side."""
        level = run_length.ordinal_scores(counts)
        upper, lower = run_length.tail_scores(counts), run_length.tail_scores(counts[::-1])[::-1]
        sides = (
            *(Side.of(counts, scores, run_length.ALLOWANCE, run) for scores in (level, -level)),
            *(Side.of(counts, scores, run_length.TAIL_ALLOWANCE, run) for scores in (upper, lower)),
        )
        ranks = middle_ranks(counts)
        return cls(sides, ranks, Stakes.of(ranks, counts))

    @classmethod
    def of_label(cls, counts: Counts, which: int, run: float) -> "Channel":
        """Watch the share of one label, *run* entries for more and for less of it."""
        scores = run_length.indicator_scores(counts, which)
        ranks = (np.arange(len(counts)) == which).astype(float)
        sides = tuple(Side.of(counts, each, run_length.ALLOWANCE, run) for each in (scores, -scores))
        return cls(sides, ranks, Stakes.of(ranks, counts))


def coarse(counts: Counts) -> NDArray[np.int64]:
    """Return where the groups of neighbouring bins begin of which each holds `LEAST_SHARE` of the reference."""
    starts, held = [0], 0
    for place, count in enumerate(counts.tolist()):
        if held >= LEAST_SHARE * counts.sum():
            starts.append(place)
            held = 0
        held += count
    if len(starts) > 1 and held < LEAST_SHARE * counts.sum():
        starts.pop()
    return np.array(starts, dtype=np.int64)


def swing(hours: Iterable[Counts], scores: Scores) -> int:
    """Return by how many scores the *hours* of a day differ beyond chance; 0 where too few of them are there."""
    means, errors = [], []
    for counts in hours:
        n = int(counts.sum())
        if n >= LEAST_ENTRIES:
            mean = float(counts @ scores) / n
            means.append(mean)
            errors.append((float(counts @ scores**2) / n - mean * mean) / n)
    if len(means) < LEAST_HOURS:
        return 0
    beyond = float(np.var(means)) - float(np.mean(errors))
    return math.ceil(SWING * math.sqrt(beyond)) if beyond > 0 else 0


LEAST_ENTRIES: Final = 100  # of an hour that tells something
LEAST_HOURS: Final = 6  # of a day
SWING: Final = 1.5  # deviations between hours: a little more than the height of a sine, which is 1.41
