"""How high a CUSUM's threshold must be for a stated time between false alarms, computed exactly from the reference."""

import math
from functools import lru_cache
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
REFERENCE_ERRORS = 2.0  # standard errors that the reference's own mean may be off without more false alarms


def ordinal_scores(reference: Counts) -> NDArray[np.int64]:
    """Return a whole score per bin: the standardised normal score of the bin's middle rank in the reference."""
    shares = _shares(reference)
    middle = np.cumsum(shares) - shares / 2
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


def allowance(count: int, smallest: float = ALLOWANCE) -> int:
    """Return what each step of a CUSUM takes off, in scores: the allowance and the reference's own uncertainty."""
    return round(SCALE * (smallest + REFERENCE_ERRORS / math.sqrt(count)))


def threshold(reference: Counts, scores: NDArray[np.int64], run_length: float, smallest: float = ALLOWANCE) -> int:
    """Return the smallest height, in scores, at which a one-sided CUSUM runs *run_length* entries on the average.

    The sum lives on whole numbers, so its run length solves a finite linear system exactly (D. Brook and D. A. Evans,
    "An approach to the probability distribution of CUSUM run length", Biometrika 59 (1972), pp. 539-549). The system
    is solved as if the reference's mean were wrong by two standard errors, in the direction that alarms earlier; past
    `SOLVED` entries, where the logarithm of the run length grows by `growth` with each score, it is continued.
    """
    steps = _steps(reference, scores, smallest)
    solved = _search(steps, tuple(_shares(reference).tolist()), min(run_length, SOLVED))
    rate = growth(reference, scores, smallest)
    further = math.ceil(math.log(run_length / SOLVED) / rate) if run_length > SOLVED else 0
    return min(solved + further, HIGHEST)


def growth(reference: Counts, scores: NDArray[np.int64], smallest: float = ALLOWANCE) -> float:
    """Return by how much the logarithm of the run length grows with each score of height, as in `threshold`."""
    return _growth(_steps(reference, scores, smallest), tuple(_shares(reference).tolist()))


def _steps(reference: Counts, scores: NDArray[np.int64], smallest: float) -> tuple[int, ...]:
    slack = round(SCALE * REFERENCE_ERRORS / math.sqrt(reference.sum()))
    return tuple((scores - allowance(int(reference.sum()), smallest) + slack).tolist())


@lru_cache(maxsize=1024)
def _search(steps: tuple[int, ...], shares: tuple[float, ...], run_length: float) -> int:
    """Close in on the height along the logarithm of the run length, which grows nearly in a straight line."""
    rate = _growth(steps, shares)
    low, high = 0, HIGHEST  # low is not enough, high is
    guess = round(math.log(run_length) / rate)
    while high - low > 1:
        height = min(max(guess, low + 1), high - 1)
        found = mean_run_length(steps, shares, height)
        if found < run_length:
            low = height
        else:
            high = height
        missing = math.log(run_length / found) / rate
        guess = height + (math.ceil(missing) if missing > 0 else math.floor(missing))
    return high


@lru_cache(maxsize=1024)
def _growth(steps: tuple[int, ...], shares: tuple[float, ...]) -> float:
    """Return the rate at which the run length grows with the height: where the steps' exponential mean is 1."""
    low, high = 1e-4, 1.0
    values, weights = np.array(steps, dtype=float), np.array(shares)
    for _ in range(50):
        middle = (low + high) / 2
        if float(np.exp(middle * values) @ weights) < 1:
            low = middle
        else:
            high = middle
    return low


def mean_run_length(steps: tuple[int, ...], shares: tuple[float, ...], height: int) -> float:
    """Return the mean number of entries until ``max(0, sum + step)`` first reaches *height*, from 0."""
    moves = np.zeros((height, height))
    states = np.arange(height)
    for step, share in zip(steps, shares, strict=True):
        target = np.maximum(states + step, 0)
        stays = target < height
        np.add.at(moves, (states[stays], target[stays]), share)
    return float(np.linalg.solve(np.eye(height) - moves, np.ones(height))[0])


def _shares(reference: Counts) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = (reference + 0.5) / (reference.sum() + 0.5 * len(reference))
    return shares


def _standardised(values: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    mean = float(values @ shares)
    deviation = math.sqrt(float((values - mean) ** 2 @ shares)) or 1.0
    scaled = np.clip((values - mean) / deviation, -CLIP, CLIP) * SCALE
    return np.rint(scaled).astype(np.int64)
