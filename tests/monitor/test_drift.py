import numpy as np
import pytest
from scipy import special, stats  # type: ignore[import-untyped]

from monitor.drift import (
    EFFECT_FLOOR,
    cdf_thresholds,
    chi2_quantile,
    chi2_survival,
    enough,
    ks,
    psi,
    psi_threshold,
    wasserstein,
)
from monitor.shape import LONG, ShapeWatch


def test_psi_agrees_with_scipy() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        reference, recent = rng.integers(0, 500, 10), rng.integers(0, 50, 10)
        p, q = ((c + 0.5) / (c + 0.5).sum() for c in (reference, recent))
        expected = float(np.sum(special.rel_entr(p, q) + special.rel_entr(q, p)))
        assert psi(reference, recent) == pytest.approx(expected, abs=1e-9)


def test_psi_of_equal_shares_is_zero() -> None:
    counts = np.array([100, 200, 300])
    assert psi(counts, counts) == 0


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 9, 10, 19, 40, 99])
def test_chi_squared_quantiles_agree_with_scipy(freedom: int) -> None:
    for alpha in (0.5, 0.05, 0.005, 1e-3, 5e-4, 1e-6, 1e-9):
        assert chi2_quantile(1 - alpha, freedom) == pytest.approx(stats.chi2.ppf(1 - alpha, freedom), rel=1e-9)
    for x in (0.0, 0.1, freedom, 3.0 * freedom, 200.0):
        assert chi2_survival(x, freedom) == pytest.approx(stats.chi2.sf(x, freedom), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("count", [100, 500])
def test_unchanged_windows_pass_the_threshold_as_often_as_promised(count: int) -> None:
    rng = np.random.default_rng(6)
    shares = rng.dirichlet(np.full(10, 20.0))
    alarms = 0
    for _ in range(4000):
        reference, recent = rng.multinomial(1000, shares), rng.multinomial(count, shares)
        alarms += psi(reference, recent) > psi_threshold(reference, recent, 0.01)
    assert alarms / 4000 < 0.02  # 0.01 by the asymptotic law, a little more in small windows


def test_a_tiny_difference_is_no_drift_however_significant() -> None:
    reference, recent = np.array([500_000, 500_000]), np.array([255_000, 245_000])
    assert psi_threshold(reference, recent, 0.001) == EFFECT_FLOOR > psi(reference, recent) > 0


def test_there_is_no_score_before_the_minimum_sample() -> None:
    assert not enough(np.array([5000]))  # one bin alone
    assert not enough(np.full(10, 9))
    assert enough(np.full(10, 10))
    assert not enough(np.full(100, 4))


def test_a_shift_too_small_for_one_block_is_seen_in_eight_together() -> None:
    watch, shifted = ShapeWatch(np.full(10, 5000)), np.array([58] * 5 + [42] * 5)
    seen = []
    for number in range(LONG + 1):
        watch.block(shifted, 1e-4, number)
        seen.append(watch.active)
    assert seen == [False] * (LONG - 1) + [True, True]


def test_unchanged_windows_pass_the_thresholds_of_ks_and_wasserstein_as_often_as_is_said() -> None:
    rng, reference = np.random.default_rng(21), np.full(10, 10**7)
    windows = rng.multinomial(500, np.full(10, 0.1), 4000)
    limits = cdf_thresholds(reference, windows[0], 0.05)
    for distance, limit in zip((ks, wasserstein), limits, strict=True):
        passed = sum(distance(reference, window) > limit for window in windows)
        assert passed / len(windows) == pytest.approx(0.05, abs=0.015)
