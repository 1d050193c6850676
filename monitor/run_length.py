"""How high a CUSUM's threshold must be for a stated time between false alarms, computed exactly from the reference."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from monitor.drift import Counts

SCALE = 16  # scores are whole sixteenths of a standard deviation: integer sums are the same in any batching
ALLOWANCE = 0.15  # of a standard deviation: half the smallest shift worth a ticket
TAIL_ALLOWANCE = 0.08  # of a tail, where one text in ten from elsewhere weighs more than in the middle
CLIP = 5.0  # standard deviations: one strange text must not decide
HIGHEST = 4096  # scores; no detector is worth waiting longer for
SOLVED = 10_000  # entries; longer runs: heights up to 3 scores above the exact ones at 1e6 (measured)
SETTLED = 0.1  # of the logarithm: how far stairs of the run length may be from its growth where it is continued
ENDLESS = 1e13  # entries; no longer run is asked for
BLOCK = 64  # states that are left out before the rest is moved
TINY = 1e-15  # rank; below it a sum of shares is 0 or 1
REFERENCE_ERRORS = 2.0  # standard errors that the reference's own mean may be off without more false alarms


def ordinal_scores(reference: Counts) -> NDArray[np.int64]:
    """Return a whole score per bin: the standardised normal score of the bin's middle rank in the reference."""
    shares = _shares(reference)
    middle = np.clip(np.cumsum(shares) - shares / 2, TINY, 1 - TINY)
    return _standardised(np.array([NormalDist().inv_cdf(float(rank)) for rank in middle]), shares)


def tail_scores(reference: Counts) -> NDArray[np.int64]:
    """Return a whole score per bin that grows towards the upper end: the standardised mean of -ln(1 - u) of its ranks.

    The locally best score against a tail that grows heavier (I. R. Savage, "Contributions to the theory of rank order
    statistics: the two-sample case", Annals of Mathematical Statistics 27 (1956), pp. 590-615).
    """
    shares = _shares(reference)
    above = np.maximum(1 - np.cumsum(np.concatenate([[0.0], shares])), 0)
    whole = above * np.log(np.maximum(above, 1e-300)) - above  # whose difference is the integral of ln
    return _standardised((whole[1:] - whole[:-1]) / shares, shares)


def indicator_scores(reference: Counts, which: int) -> NDArray[np.int64]:
    """Return a whole score per bin: the standardised indicator of bin *which*."""
    shares = _shares(reference)
    return _standardised((np.arange(len(reference)) == which).astype(float), shares)


@dataclass(frozen=True, slots=True)
class Heights:
    """How many entries a one-sided CUSUM runs on the average until a false alarm, by the height that begins one."""

    allowance: int  # scores that each step takes off
    exact: NDArray[np.float64]  # entries, at heights of 1, 2, ... scores; empty where the sum never climbs
    growth: float  # of their logarithm with each further score

    def of(self, run_length: float) -> float:
        """Return the smallest height, in scores, for *run_length* entries; infinity where an alarm never begins."""
        if not len(self.exact):
            return math.inf
        if run_length <= self.exact[-1]:
            return float(np.searchsorted(self.exact, run_length) + 1)
        return float(len(self.exact) + math.ceil(math.log(run_length / self.exact[-1]) / self.growth))


def heights(reference: Counts, scores: NDArray[np.int64], run_length: float, smallest: float = ALLOWANCE) -> Heights:
    """Return the heights of a CUSUM that is to see shifts above *smallest* deviations and to run *run_length* entries.

    They are solved as if the reference's mean were wrong by two standard errors, in the direction that alarms earlier.
    Each step takes off *smallest* and these errors. Where that is not enough, since the scores of rare bins were
    clipped and the sum climbs by itself, it takes off more: what a height below `HIGHEST` needs.
    """
    errors = SCALE * REFERENCE_ERRORS / math.sqrt(reference.sum())
    allowance, (distinct, shares) = round(SCALE * smallest + errors), _distinct(reference, scores)
    while True:
        steps = tuple((distinct - allowance + round(errors)).tolist())
        rate = growth(steps, shares)
        if rate * HIGHEST >= math.log(run_length):
            return Heights(allowance, _exact(steps, shares, rate), rate)
        allowance += 1


def growth(steps: tuple[int, ...], shares: tuple[float, ...]) -> float:
    """Return by how much the logarithm of the run length grows with each score of height, in the long run.

    That is where the steps' exponential mean is 1; at no height is the logarithm less than so many times the height
    (Lundberg's inequality). 0 if the sum climbs by itself, infinity if it never climbs.
    """
    values, weights = np.array(steps, dtype=float), np.array(shares)
    if max(steps) <= 0:
        return math.inf
    low, high = 0.0, -math.log(weights[values.argmax()]) / max(steps)  # there one bin alone has a mean of 1
    for _ in range(50):
        middle = (low + high) / 2
        if float(np.exp(middle * values) @ weights) < 1:
            low = middle
        else:
            high = middle
    return low


@lru_cache(maxsize=256)
def _exact(steps: tuple[int, ...], shares: tuple[float, ...], rate: float) -> NDArray[np.float64]:
    """Return the run lengths at heights from 1 to where they have passed `SOLVED` and grow by *rate*."""
    found: list[float] = []
    stairs = max(*steps, 0) + 1  # a rare bin of this step makes stairs as long
    for entries in islice(run_lengths(steps, shares), HIGHEST):
        found.append(entries)
        if entries >= ENDLESS or (entries >= SOLVED and len(found) >= stairs and _grow(found[-stairs:], rate)):
            break
    return np.array(found)


def _grow(entries: list[float], rate: float) -> bool:
    """Tell whether run lengths at consecutive heights grow by *rate*."""
    return bool(np.ptp(np.log(entries) - rate * np.arange(len(entries))) <= SETTLED)


def run_lengths(steps: tuple[int, ...], shares: tuple[float, ...]) -> Iterator[float]:
    """Yield the mean number of entries until ``max(0, sum + step)``, from 0, first reaches a height of 1, 2, ...

    The sum is a Markov chain on whole numbers (D. Brook and D. A. Evans, "An approach to the probability distribution
    of CUSUM run length", Biometrika 59 (1972), pp. 539-549). Its states are left out one by one from 0 on, which
    subtracts nothing, so that the longest run length is as exact as the shortest (W. K. Grassmann, M. I. Taksar and
    D. P. Heyman, "Regenerative analysis and steady state distributions for Markov chains", Operations Research 33
    (1985), pp. 1107-1116). Only the states near the one that is left out are kept. Ends where nothing leads on.
    """
    up, down = max(*steps, 0), max(-min(steps), 0)
    states = np.arange(down + BLOCK)
    moves = np.zeros((len(states), len(states) + up))  # chances, from state to state
    for step, share in zip(steps, shares, strict=True):
        moves[states, np.maximum(states + step, 0)] += share
    usual, spent = moves.copy(), np.ones(len(states))  # entries that one visit of a state takes
    reached, entries = np.eye(1, len(states) + up)[0], 0.0  # chance that a state is the first one that is left
    while True:
        for at in range(BLOCK):
            before, after = slice(at + 1, at + 1 + down), slice(at + 1, at + 1 + up)
            on, back = float(moves[at, after].sum()), moves[before, at]
            if on == 0:
                return
            entries += reached[at] * spent[at] / on
            yield entries
            further = moves[at, after] / on
            moves[before, after] += back[:, None] * further
            spent[before] += back * (spent[at] / on)
            reached[after] += reached[at] * further
        left, moves = moves[BLOCK:, BLOCK:], usual.copy()
        moves[:down] = 0
        moves[:down, : down + up] = left
        spent = np.concatenate([spent[BLOCK:], np.ones(BLOCK)])
        reached = np.concatenate([reached[BLOCK:], np.zeros(BLOCK)])


def _distinct(reference: Counts, scores: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[float, ...]]:
    """Return the scores that differ, and the share of each: labels that are as rare are solved once."""
    values, places = np.unique(scores, return_inverse=True)
    held = np.bincount(places, reference) + 0.5 * np.bincount(places)
    return values, tuple((held / (reference.sum() + 0.5 * len(reference))).tolist())


def _shares(reference: Counts) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = (reference + 0.5) / (reference.sum() + 0.5 * len(reference))
    return shares


def _standardised(values: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    mean = float(values @ shares)
    deviation = math.sqrt(float((values - mean) ** 2 @ shares)) or 1.0
    scaled = np.clip((values - mean) / deviation, -CLIP, CLIP) * SCALE
    return np.rint(scaled).astype(np.int64)
