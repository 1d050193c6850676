"""How far a histogram is from its reference, and how far chance alone would take it. Pure functions."""

import math
import threading
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

EFFECT_FLOOR = (
    0.01  # below this a PSI may be significant and still means nothing; one text in ten from elsewhere has 0.015
)
WINDOW_ALPHA = 0.001  # chance that a window of unchanged traffic lies above its threshold
MINIMUM_SAMPLE = 100  # below this no score: 40 % of unchanged windows of 100 pass the customary 0.1
DRAWS = 50_000  # 50 of them lie above a quantile at WINDOW_ALPHA: the threshold is right to about 2 %
KNOWN = 8192  # references whose quantiles are kept: a thousand versions, 4 MB
_DRAWING = threading.Lock()  # draws take 12 MB
CONVERGED = 4e-16  # two units in the last place of 1
ENTRIES_PER_BIN = 5  # the chi-squared law of the PSI needs about five expected entries in a bin


def psi(reference: Counts, recent: Counts) -> float:
    """Population stability index of *recent* against *reference*, in nats; 0 means identical shares.

    Half an entry is added to every bin, so that an empty bin counts as rare and not as impossible.
    """
    p, q = _smoothed(reference), _smoothed(recent)
    return float(np.sum((q - p) * np.log(q / p)))


def psi_threshold(reference: Counts, recent: Counts, alpha: float) -> float:
    """Return what the PSI of unchanged traffic passes with probability *alpha*, but at least the effect floor.

    ``PSI / (1/n + 1/m)`` follows chi-squared with bins - 1 degrees of freedom (B. Yurdakul, "Statistical properties
    of population stability index", dissertation, Western Michigan University, 2018, chapter 3).
    """
    spread = 1 / float(recent.sum()) + 1 / float(reference.sum())
    return max(chi2_quantile(1 - alpha, len(reference) - 1) * spread, EFFECT_FLOOR)


def js(reference: Counts, recent: Counts) -> float:
    """Jensen-Shannon distance (the square root of the divergence in nats), half an entry added to every bin."""
    p, q = _smoothed(reference), _smoothed(recent)
    middle = (p + q) / 2
    divergence = float(np.sum(p * np.log(p / middle) + q * np.log(q / middle))) / 2
    return math.sqrt(max(divergence, 0.0))


def js_threshold(reference: Counts, recent: Counts, alpha: float) -> float:
    """Return what the JS distance of unchanged traffic passes with probability *alpha*.

    Near its zero the divergence is an eighth of the PSI, so it has the same chi-squared law.
    """
    return math.sqrt(psi_threshold(reference, recent, alpha) / 8)


def ks(reference: Counts, recent: Counts) -> float:
    """Kolmogorov-Smirnov distance: the largest difference of the cumulated shares at the bins' edges."""
    return float(np.abs(_cumulated_difference(reference, recent)).max())


def wasserstein(reference: Counts, recent: Counts) -> float:
    """Wasserstein distance in bins: how many bins, about a tenth of the reference each, an entry moved on average."""
    return float(np.abs(_cumulated_difference(reference, recent)).sum())


def cdf_thresholds(reference: Counts, recent: Counts, alpha: float) -> tuple[float, float]:
    """Return what KS and Wasserstein distance of unchanged traffic pass with probability *alpha*.

    The differences of cumulated shares are jointly normal with the covariance of a Brownian bridge at the reference's
    own shares, ties and all; *DRAWS* seeded draws of it give both quantiles.
    """
    spread = math.sqrt(1 / float(recent.sum()) + 1 / float(reference.sum()))
    largest, summed = bridge_quantiles(reference, alpha)
    return largest * spread, summed * spread


def bridge_quantiles(reference: Counts, alpha: float) -> tuple[float, float]:
    """Return what a bridge at the reference's shares passes with *alpha*, at its peak and summed: 0.1 s, then known."""
    return _bridge_quantiles(tuple(reference.tolist()), alpha)


@lru_cache(maxsize=KNOWN)
def _bridge_quantiles(reference: tuple[int, ...], alpha: float) -> tuple[float, float]:
    shares = _smoothed(np.array(reference))
    with _DRAWING:
        bridge = np.random.default_rng(7).standard_normal((DRAWS, len(shares)))
        bridge *= np.sqrt(shares)
        bridge -= shares * bridge.sum(axis=1, keepdims=True)
        np.abs(np.cumsum(bridge, axis=1, out=bridge), out=bridge)
        return float(np.quantile(bridge.max(axis=1), 1 - alpha)), float(np.quantile(bridge.sum(axis=1), 1 - alpha))


def _cumulated_difference(reference: Counts, recent: Counts) -> NDArray[np.float64]:
    difference: NDArray[np.float64] = np.cumsum(recent / recent.sum() - reference / reference.sum())
    return difference


def _smoothed(counts: Counts) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return shares


def enough(recent: Counts) -> bool:
    """Tell whether *recent* holds the minimum sample for a score; one bin alone says nothing."""
    return len(recent) > 1 and int(recent.sum()) >= max(MINIMUM_SAMPLE, ENTRIES_PER_BIN * len(recent))


@lru_cache(maxsize=4096)
def chi2_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of the chi-squared distribution, exact to about 1e-12 of its value (by bisection)."""
    low, high = 0.0, freedom + 10.0
    while chi2_survival(high, freedom) > 1 - probability:
        low, high = high, 2 * high
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        if chi2_survival(middle, freedom) > 1 - probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def chi2_survival(x: float, freedom: int) -> float:
    """Return P(X > x) for X chi-squared: the regularised upper incomplete gamma function of (freedom/2, x/2)."""
    shape, at = freedom / 2, x / 2
    if at <= 0:
        return 1.0
    front = math.exp(shape * math.log(at) - at - math.lgamma(shape))
    if at < shape + 1:
        return 1.0 - front * _lower_series(shape, at)
    return front * _upper_fraction(shape, at)


def _lower_series(shape: float, at: float) -> float:
    # Abramowitz and Stegun 6.5.29
    term = total = 1 / shape
    step = shape
    while abs(term) > 1e-17 * abs(total):
        step += 1
        term *= at / step
        total += term
    return total


def _upper_fraction(shape: float, at: float) -> float:
    # Abramowitz and Stegun 6.5.31, evaluated from the front (Lentz)
    tiny = 1e-300
    b = at + 1 - shape
    c, d = 1 / tiny, 1 / b
    value = d
    for i in range(1, 10_000):
        a = -i * (i - shape)
        b += 2
        d = 1 / (a * d + b or tiny)
        c = b + a / c or tiny
        value *= c * d
        if abs(c * d - 1) <= CONVERGED:
            break
    return value
