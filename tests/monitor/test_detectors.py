from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detectors import Cusum, ShiryaevRoberts, WilsonRule
from monitor.run_length import SCALE, mean_run_length, ordinal_scores, threshold


def alarms_of(rng: np.random.Generator, accuracy: float, labels: int, rule: str) -> list[int]:
    """Positions of alarms, begun afresh after each."""
    positions, detector = [], ShiryaevRoberts(0.8)
    wilson, active, since = WilsonRule(0.8, 200, 50), False, 0
    for at, right in enumerate((rng.random(labels) < accuracy).tolist()):
        if rule == "e-sr":
            detector.update(correct=right)
            if detector.statistic >= 10_000:
                positions.append(at)
                detector.reset()
        else:
            wilson.update("a", "a" if right else "b")
            if wilson.below and not active:
                positions.append(at)
            since = since + 1 if active else 0
            active = wilson.below or (active and not wilson.recovered(since))
    return positions


def test_the_page_is_quiet_at_the_target_and_silent_above_it() -> None:
    rng = np.random.default_rng(7)
    assert len(alarms_of(rng, 0.80, 200_000, "e-sr")) <= 20  # at most one in 10 000 by its bound
    assert alarms_of(rng, 0.85, 200_000, "e-sr") == []


def test_the_ticket_is_rare_at_the_target_and_silent_above_it() -> None:
    rng = np.random.default_rng(8)
    assert len(alarms_of(rng, 0.80, 100_000, "wilson")) <= 40
    assert len(alarms_of(rng, 0.82, 100_000, "wilson")) <= 6
    assert alarms_of(rng, 0.85, 200_000, "wilson") == []


@pytest.mark.parametrize(("after", "most"), [(0.75, 600), (0.70, 300), (0.60, 120)])
def test_a_drop_of_accuracy_is_paged_in_time(after: float, most: int) -> None:
    delays = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        detector = ShiryaevRoberts(0.8)
        for right in rng.random(2000) < 0.85:
            detector.update(correct=bool(right))
        for delay, right in enumerate(rng.random(5000) < after):
            detector.update(correct=bool(right))
            if detector.statistic >= 10_000:
                delays.append(delay + 1)
                break
    assert len(delays) == 25
    assert np.median(delays) <= most


def test_fifteen_wrong_answers_in_a_row_are_evidence_enough_for_a_page() -> None:
    detector = ShiryaevRoberts(0.8)
    for _ in range(15):
        detector.update(correct=False)
    assert detector.statistic >= 10_000


def test_the_wilson_rule_says_nothing_before_its_minimum() -> None:
    rule = WilsonRule(0.8, 200, 50)
    for _ in range(49):
        rule.update("a", "b")
    assert not rule.below
    rule.update("a", "b")
    assert rule.below


def test_the_wilson_rule_forgets_what_left_its_window() -> None:
    rule = WilsonRule(0.8, 100, 50)
    for _ in range(100):
        rule.update("a", "b")
    for _ in range(100):
        rule.update("a", "a")
    assert rule.correct == 100
    assert rule.recovered(100)
    assert not rule.recovered(49)
    assert rule.confusion() == {"a": {"a": 100}}


def test_the_height_of_a_cusum_gives_the_run_length_it_promises() -> None:
    rng = np.random.default_rng(9)
    counts = np.array([400, 100, 100, 100, 100, 100, 100])
    scores = ordinal_scores(counts)
    steps = scores - round(SCALE * 0.25)
    shares = (counts + 0.5) / (counts.sum() + 3.5)
    expected = mean_run_length(tuple(steps.tolist()), tuple(shares.tolist()), 100)
    runs = []
    for _ in range(400):
        total, run = 0, 0
        for step in rng.choice(steps, size=40_000, p=shares).tolist():
            run += 1
            total = max(0, total + step)
            if total >= 100:
                break
        runs.append(run)
    assert np.mean(runs) == pytest.approx(expected, rel=0.15)  # three standard errors of 400 runs


def test_a_longer_run_length_needs_a_greater_height() -> None:
    counts = np.full(10, 500)
    heights = [threshold(counts, ordinal_scores(counts), 10.0**power) for power in (3, 4, 5, 6)]
    assert heights == sorted(set(heights))
    # Siegmund's approximation for normal values: 19.1 - 1.2 standard deviations at 1e5, one side at half of it.
    assert threshold(counts, ordinal_scores(counts), 1e5) / SCALE == pytest.approx(17.7, abs=2)


@given(
    st.lists(st.integers(-40, 40), max_size=300),
    st.lists(st.integers(0, 300), max_size=5),
    st.integers(1, 200),
)
def test_a_cusum_does_not_see_how_its_steps_were_batched(steps: list[int], cuts: list[int], height: int) -> None:
    array = np.array(steps, dtype=np.int64)
    whole, parts = Cusum(), Cusum()
    expected = whole.update_many(array, height)
    bounds = [0, *sorted(min(cut, len(steps)) for cut in cuts), len(steps)]
    found = []
    for start, stop in pairwise(bounds):
        found += [(start + at, began) for at, began in parts.update_many(array[start:stop], height)]
    assert found == expected
    assert parts == whole


@given(st.lists(st.integers(-40, 40), max_size=300), st.integers(1, 200))
def test_the_fast_way_of_a_cusum_equals_the_plain_one(steps: list[int], height: int) -> None:
    fast = Cusum()
    changes = fast.update_many(np.array(steps, dtype=np.int64), height)
    total, active, expected = 0, False, []
    for at, step in enumerate(steps):
        total = min(max(0, total + step), height)
        if not active and total == height:
            active = True
            expected.append((at, True))
        elif active and total == 0:
            active = False
            expected.append((at, False))
    assert changes == expected
    assert (fast.total, fast.active) == (total, active)
