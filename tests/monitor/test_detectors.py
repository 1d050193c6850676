import math
from collections.abc import Callable
from itertools import islice, pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.adwin import Adwin
from monitor.channels import Channel
from monitor.detectors import Cusum, ShiryaevRoberts, WilsonRule
from monitor.ranks import CHUNK, RankDetector, Stakes, middle_ranks
from monitor.run_length import SCALE, heights, ordinal_scores, run_lengths

TIMES = np.arange(1, 400_001)  # of entries, ms


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


def run_length_at(height: int, steps: np.ndarray, shares: np.ndarray) -> float:
    return next(islice(run_lengths(tuple(steps.tolist()), tuple(shares.tolist())), height - 1, None))


def test_the_height_of_a_cusum_gives_the_run_length_it_promises() -> None:
    rng = np.random.default_rng(9)
    counts = np.array([400, 100, 100, 100, 100, 100, 100])
    scores = ordinal_scores(counts)
    steps = scores - round(SCALE * 0.25)
    shares = (counts + 0.5) / (counts.sum() + 3.5)
    expected = run_length_at(100, steps, shares)
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
    solved = heights(counts, ordinal_scores(counts), 1e6)
    found = [solved.of(10.0**power) for power in (3, 4, 5, 6)]
    assert found == sorted(set(found))
    # Siegmund's approximation for normal values: 23.3 standard deviations at 1e5, with 3/16 taken off.
    assert solved.of(1e5) / SCALE == pytest.approx(23.3, abs=1.5)


@given(
    st.lists(st.integers(-40, 40), max_size=300),
    st.integers(1, 30),
    st.lists(st.integers(0, 9000), max_size=5),
    st.integers(1, 200),
)
def test_a_cusum_does_not_see_how_its_steps_were_batched(
    steps: list[int], times: int, cuts: list[int], height: int
) -> None:
    array = np.array(steps * times, dtype=np.int64)
    whole, parts = Cusum(), Cusum()
    expected = whole.update_many(array, height, -100, TIMES[: len(array)])
    bounds = [0, *sorted(min(cut, len(array)) for cut in cuts), len(array)]
    found = []
    for start, stop in pairwise(bounds):
        found += [
            (start + at, began) for at, began in parts.update_many(array[start:stop], height, -100, TIMES[start:stop])
        ]
    assert found == expected
    assert parts == whole


@given(st.lists(st.integers(-40, 40), max_size=300), st.integers(1, 200))
def test_a_cusum_begins_where_the_plain_sum_reaches_its_height(steps: list[int], height: int) -> None:
    changes = Cusum().update_many(np.array(steps, dtype=np.int64), height, -100, TIMES)
    total, first = 0, None
    for at, step in enumerate(steps):
        total = max(0, total + step)
        if total >= height:
            first = at
            break
    assert [at for at, began in changes if began] == ([] if first is None else [first])


@given(st.lists(st.integers(0, 9), max_size=3000), st.lists(st.integers(0, 3000), max_size=5))
def test_a_rank_detector_does_not_see_how_its_entries_were_batched(entries: list[int], cuts: list[int]) -> None:
    counts = np.full(10, 100)
    stakes, array = Stakes.of(middle_ranks(counts), counts), np.array(entries, dtype=np.int64)
    whole, parts = RankDetector(), RankDetector()
    expected = whole.update_many(stakes, array, 3.0, TIMES)
    bounds = [0, *sorted(min(cut, len(array)) for cut in cuts), len(array)]
    found = []
    for start, stop in pairwise(bounds):
        found += [
            (start + at, began) for at, began in parts.update_many(stakes, array[start:stop], 3.0, TIMES[start:stop])
        ]
    assert found == expected
    assert parts == whole


def test_an_alarm_near_its_threshold_does_not_flap() -> None:
    side = Channel.of_ranks(np.full(10, 500), 2e6).sides[0]
    for shift in (0.1, 0.18, 0.25):  # standard deviations; the allowance is 0.15 and the reference's uncertainty
        rng = np.random.default_rng(17)
        values = rng.normal(shift, 1, 400_000)
        edges = [NormalDist().inv_cdf(share / 10) for share in range(1, 10)]
        changes = Cusum().update_many(
            side.steps(0)[np.searchsorted(edges, values)], side.at(1.0, 1.0), side.calm(0), TIMES
        )
        assert len(changes) <= 3, shift


def test_an_alarm_ends_when_traffic_is_the_reference_again() -> None:
    counts = np.full(10, 500)
    channel = Channel.of_ranks(counts, 2e6)
    side = channel.sides[0]
    rng, cusum, ranks = np.random.default_rng(18), Cusum(), RankDetector()
    strange, usual = rng.integers(5, 10, 1000), rng.integers(0, 10, 20_000)
    assert [
        began for _, began in cusum.update_many(side.steps(0)[strange], side.at(1.0, 1.0), side.calm(0), TIMES)
    ] == [1]
    assert [began for _, began in ranks.update_many(channel.stakes, strange, 1_000_000 / CHUNK, TIMES)] == [1]
    for changes in (
        cusum.update_many(side.steps(0)[usual], side.at(1.0, 1.0), side.calm(0), TIMES),
        ranks.update_many(channel.stakes, usual, 1_000_000 / CHUNK, TIMES),
    ):
        ((at, began),) = changes
        assert not began
        assert 1500 <= at <= 20_000  # four blocks of 500, the first of which may hold strange entries


def test_adwin_survives_a_window_that_became_constant() -> None:
    adwin = Adwin()
    changes = [adwin.update(float(value)) for value in [1] * 100 + [0] * 100 + [1] * 300]
    assert any(changes)
    assert adwin.mean == pytest.approx(1, abs=0.05)


def test_adwin_knows_the_spread_of_its_window_after_it_dropped_the_older_part() -> None:
    values = (np.random.default_rng(20).random(4000) < np.repeat([0.9, 0.5], 2000)).astype(float).tolist()
    adwin = Adwin()
    changes = [adwin.update(value) for value in values]
    assert any(changes)
    window = np.array(values[-adwin.width :])
    assert adwin.width < 2500
    assert adwin.deviation == pytest.approx(((window - window.mean()) ** 2).sum(), abs=1e-6)


def test_bets_on_ranks_win_as_much_less_as_entries_repeat_each_other() -> None:
    channel = Channel.of_ranks(np.full(10, 500), 2e6)
    assert channel.stakes is not None
    higher = np.full(CHUNK, 8)
    plain, repeated = RankDetector(), RankDetector()
    plain.update_many(channel.stakes, higher, math.inf, TIMES)
    repeated.update_many(channel.stakes, higher, math.inf, TIMES, inflation=4.0)
    assert np.log(repeated.sums) == pytest.approx(np.log(plain.sums) / 4)


def onsets(detect: Callable[[np.random.Generator], int | None]) -> list[int]:
    """How far from the truth the estimated onset was, of 25 streams."""
    found = [detect(np.random.default_rng(seed)) for seed in range(25)]
    assert None not in found
    return [abs(at) for at in found if at is not None]


def test_a_cusum_and_bets_on_ranks_say_about_when_the_shift_began() -> None:
    counts, change = np.full(10, 500), 3000
    channel = Channel.of_ranks(counts, 2e6)
    side = channel.sides[0]

    def stream(rng: np.random.Generator) -> np.ndarray:
        values = np.concatenate([rng.normal(0, 1, change), rng.normal(0.8, 1, 3000)])
        return np.searchsorted([NormalDist().inv_cdf(share / 10) for share in range(1, 10)], values)

    def of_cusum(rng: np.random.Generator) -> int | None:
        cusum = Cusum()
        cusum.update_many(side.steps(0)[stream(rng)], side.at(1.0, 1.0), side.calm(0), TIMES)
        return cusum.onset_ms - change if cusum.active else None

    def of_ranks(rng: np.random.Generator) -> int | None:
        ranks = RankDetector()
        ranks.update_many(channel.stakes, stream(rng), 1_000_000 / CHUNK, TIMES)
        return ranks.onset_ms - change if ranks.active else None

    assert np.median(onsets(of_cusum)) <= 40
    assert np.median(onsets(of_ranks)) <= CHUNK


def test_the_page_and_adwin_say_about_when_the_accuracy_fell() -> None:
    change = 2000

    def answers(rng: np.random.Generator) -> list[bool]:
        return [*(rng.random(change) < 0.9).tolist(), *(rng.random(2000) < 0.6).tolist()]

    def of_page(rng: np.random.Generator) -> int | None:
        detector = ShiryaevRoberts(0.8)
        for at, right in enumerate(answers(rng), 1):
            detector.update(correct=right, at_ms=at)
            if detector.statistic >= 10_000:
                return detector.onset_ms - change
        return None

    def of_adwin(rng: np.random.Generator) -> int | None:
        adwin = Adwin()
        for at, right in enumerate(answers(rng), 1):
            before = adwin.mean
            if adwin.update(float(right), at) and adwin.mean < before:
                return adwin.onset_ms - change
        return None

    assert np.median(onsets(of_page)) <= 15
    assert np.median(onsets(of_adwin)) <= 64
