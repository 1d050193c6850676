from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.channels import Channel, coarse, swing
from monitor.dependence import Dependence
from monitor.detectors import HOLD
from monitor.drift import chi2_survival
from monitor.profiles import Embedding, FeatureProfile
from monitor.run_length import SCALE, ordinal_scores, tail_scores
from monitor.scan import CHUNK, LENGTHS, Scan, Yardstick

COUNTS = np.array([10, 10, 30, 50, *[100] * 8, 50, 30, 10, 10]) * 5

TIMES = np.arange(1, 20_001)  # of entries, ms


def autoregressive(rng: np.random.Generator, rho: float, count: int) -> np.ndarray:
    level, found = 0.0, np.empty(count)
    for at, step in enumerate((rng.standard_normal(count) * np.sqrt(1 - rho**2)).tolist()):
        level = rho * level + step
        found[at] = level
    return found


@pytest.mark.parametrize(("rho", "multiple"), [(0.0, 1.0), (0.3, 13 / 7), (0.6, 4.0), (0.8, 9.0)])
def test_entries_that_repeat_each_other_count_as_many_times_less(rho: float, multiple: float) -> None:
    scores = np.rint(autoregressive(np.random.default_rng(1), rho, 128 * 200) * SCALE).astype(np.int64)
    dependence = Dependence(1)
    dependence.update_many(scores[:, None], [float(SCALE**2)])
    assert dependence.inflations[0] == pytest.approx(multiple, rel=0.3)
    if rho == 0:
        assert dependence.inflations == [1.0]


def test_a_level_that_moves_once_is_no_dependence() -> None:
    scores = np.random.default_rng(2).normal(0, SCALE, 128 * 60)
    scores[128 * 30 :] += 2 * SCALE
    dependence = Dependence(1)
    dependence.update_many(np.rint(scores).astype(np.int64)[:, None], [float(SCALE**2)])
    assert dependence.inflations == [1.0]


def test_each_number_has_a_dependence_of_its_own() -> None:
    rng = np.random.default_rng(3)
    columns = [autoregressive(rng, rho, 128 * 100) * SCALE for rho in (0.8, 0.0)]
    dependence = Dependence(2)
    dependence.update_many(np.rint(np.stack(columns, axis=1)).astype(np.int64), [float(SCALE**2)] * 2)
    repeated, plain = dependence.inflations
    assert repeated > 4
    assert plain == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 3000), max_size=5))
def test_neither_dependence_nor_scan_sees_how_entries_were_batched(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-40, 40, (4000, 3)) + np.where(rng.random() < 0.5, 12, 0) * (np.arange(4000) < 1500)[:, None]
    yardstick = Yardstick.of(1000, 1e4, np.ones(3), np.zeros(3))
    whole, parts = (Scan(3), Dependence(3)), (Scan(3), Dependence(3))
    expected = whole[0].update_many(rows, yardstick, TIMES)
    whole[1].update_many(rows, [400.0] * 3)
    found = []
    for start, stop in pairwise([0, *sorted(cuts), len(rows)]):
        found += [
            (start + at, began) for at, began in parts[0].update_many(rows[start:stop], yardstick, TIMES[start:stop])
        ]
        parts[1].update_many(rows[start:stop], [400.0] * 3)
    assert found == expected
    assert parts == whole


def test_a_scan_of_unmoved_numbers_runs_as_long_as_it_says() -> None:
    rng, run = np.random.default_rng(4), 20_000
    yardstick = Yardstick.of(10**9, run, np.ones(8), np.zeros(8))
    begun = 0
    for _ in range(20):
        rows = np.rint(rng.standard_normal((run, 8)) * SCALE).astype(np.int64)
        begun += sum(began for _, began in Scan(8).update_many(rows, yardstick, TIMES))
    assert begun <= 28  # 20 were the chances of all tests added; what overlaps makes it fewer


def test_a_scan_finds_a_mean_that_moved_in_any_direction_and_lets_go_of_it() -> None:
    rng = np.random.default_rng(5)
    yardstick = Yardstick.of(5000, 1e6, np.ones(8), np.zeros(8))
    for size, most in ((1.0, 100), (0.3, 1000)):
        direction = rng.standard_normal(8)
        direction *= size * SCALE / np.linalg.norm(direction)
        rows = rng.standard_normal((12_000, 8)) * SCALE
        rows[2000:6000] += direction
        scan = Scan(8)
        (began, first), (ended, second) = scan.update_many(np.rint(rows).astype(np.int64), yardstick, TIMES)
        assert (first, second) == (True, False)
        assert 2000 <= began <= 2000 + most
        assert abs(scan.onset_ms - 2000) <= most / 2
        assert 6000 <= ended <= 6000 + 12 * HOLD


def test_the_distance_of_a_scan_is_chi_squared() -> None:
    rng = np.random.default_rng(6)
    yardstick = Yardstick.of(10**9, 1e6, np.ones(8), np.zeros(8))
    count = CHUNK * LENGTHS[0]
    sums = np.rint(rng.standard_normal((20_000, count, 8)).sum(axis=1) * SCALE).astype(np.int64)
    distances = yardstick.distance(sums, count)
    for limit in (8.0, 16.0, 20.0):
        assert np.mean(distances > limit) == pytest.approx(chi2_survival(limit, 8), rel=0.15)


def test_hours_that_differ_are_a_swing_and_hours_by_chance_are_none() -> None:
    rng, scores = np.random.default_rng(7), ordinal_scores(COUNTS)
    shares = COUNTS / COUNTS.sum()
    alike = [rng.multinomial(800, shares) for _ in range(24)]
    assert swing(alike, scores) <= 1  # sixteenths of a standard deviation
    unlike = []
    for hour in range(24):
        tilted = shares * np.exp(0.3 * np.sin(2 * np.pi * hour / 24) * scores / SCALE)
        unlike.append(rng.multinomial(800, tilted / tilted.sum()))
    assert swing(unlike, scores) / SCALE == pytest.approx(0.3, abs=0.1)
    assert swing(unlike[:5], scores) == 0  # too few hours


def test_coarse_bins_hold_enough_to_be_tested() -> None:
    starts = coarse(COUNTS)
    merged = np.add.reduceat(COUNTS, starts)
    assert merged.sum() == COUNTS.sum()
    assert (merged >= 0.06 * COUNTS.sum()).all()
    assert coarse(np.array([5, 1000, 5])).tolist() == [0]


def test_a_tail_weighs_most_where_it_ends() -> None:
    upper, lower = tail_scores(COUNTS), tail_scores(COUNTS[::-1])[::-1]
    assert np.diff(upper).min() >= 0
    assert np.diff(lower).max() <= 0
    assert abs(float(upper @ COUNTS)) / COUNTS.sum() < 0.5
    sides = Channel.of_ranks(COUNTS, 1e6).sides
    assert [side.scores[-1] > 0 for side in sides] == [True, False, True, False]


def test_a_profile_without_coordinates_has_no_embedding() -> None:
    assert Embedding.of(()) is None
    feature = FeatureProfile("embedding_0", np.zeros(15), COUNTS, ())
    found = Embedding.of((feature, feature))
    assert found is not None
    assert found.scores.shape == (2, 16)
    assert found.reference == COUNTS.sum()
