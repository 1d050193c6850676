"""The arithmetic behind the gate: exact where it can be, simulated with seeds where it must be."""

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from broker.bets import BETS, MARGIN, blocks, bounds, evidence, is_above, is_below, labels_needed, mcnemar, mean

RUNS, LOOKS, EVERY = 100, 60, 60
MOST_WRONG = 0.05 * RUNS

tallies = st.dictionaries(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), st.integers(1, 400), min_size=1)


def drawn(rng, only_second, only_first):
    """One labelled text: 1 where only the second version is right, -1 where only the first is."""
    chance = rng.random()
    return 1.0 if chance < only_second else -1.0 if chance < only_second + only_first else 0.0


def first_time(rng, draw, says, looks=LOOKS):
    """The number of labels at the first look at which *says* holds; None if it never does."""
    tally = Counter()
    for look in range(1, looks + 1):
        tally.update(draw(rng) for _ in range(EVERY))
        if says(tally):
            return look * EVERY
    return None


@pytest.mark.parametrize("most", [-MARGIN, 0.0, 0.3])
def test_a_bet_against_what_is_true_is_expected_to_win_nothing(most):
    up, down = 0.2 + max(0, most), 0.2 - min(0, most)
    chances = {1.0: up, -1.0: down, 0.0: 1 - up - down}
    assert math.isclose(up - down, most, abs_tol=1e-12)
    expected = math.fsum(
        math.prod(chances[value] for value in outcome) * math.exp(evidence(Counter(outcome), most))
        for outcome in itertools.product(chances, repeat=6)
    )
    assert math.isclose(expected, 1, rel_tol=1e-9)


@given(tallies, st.floats(-0.95, 0.9), st.floats(0.001, 0.05))
def test_the_more_a_claim_allows_the_less_speaks_against_it(tally, most, step):
    assert evidence(tally, most) >= evidence(tally, most + step) - 1e-9


@given(tallies)
def test_the_mean_lies_between_the_bounds_and_both_change_over_with_the_versions(tally):
    lower, upper = bounds(tally)
    assert lower <= mean(tally) <= upper
    assert (lower, upper) == tuple(-bound for bound in reversed(bounds({-v: n for v, n in tally.items()})))


@pytest.mark.parametrize(("only_second", "only_first"), [(0.035, 0.045), (0.005, 0.015), (0.145, 0.155)])
def test_a_version_worse_by_the_margin_is_rarely_promoted_however_often_one_looks(only_second, only_first):
    rng = random.Random(1)
    promoted = [
        first_time(rng, lambda r: drawn(r, only_second, only_first), lambda t: is_above(t, -MARGIN))
        for _ in range(RUNS)
    ]
    assert sum(one is not None for one in promoted) <= MOST_WRONG


def test_a_version_worse_by_the_margin_is_rarely_called_worse_however_often_one_looks():
    rng = random.Random(2)
    stopped = [first_time(rng, lambda r: drawn(r, 0.035, 0.045), lambda t: is_below(t, -MARGIN)) for _ in range(RUNS)]
    assert sum(one is not None for one in stopped) <= MOST_WRONG


def test_the_true_difference_rarely_ever_leaves_the_bounds():
    rng, true = random.Random(3), 0.02

    def is_outside(tally):  # what `bounds` looks for
        return is_above(tally, true) or is_below(tally, true)

    left = [first_time(rng, lambda r: drawn(r, 0.06, 0.04), is_outside) for _ in range(RUNS)]
    assert sum(one is not None for one in left) <= 2 * MOST_WRONG, "one in twenty a side"


@pytest.mark.parametrize(
    ("only_second", "only_first", "within", "share"),
    [
        (0.02, 0.02, 9000, 0.9),  # as good, 4 % of answers differ in being right
        (0.01, 0.01, 4200, 0.9),
        (0.045, 0.035, 4200, 0.9),  # better by one point
        (0.05, 0.03, 1800, 0.9),  # better by two
        (0.0, 0.0, 720, 1.0),  # the same answers
    ],
)
def test_the_gate_opens_for_a_version_that_is_as_good_or_better(only_second, only_first, within, share):
    rng = random.Random(4)
    runs = [
        first_time(rng, lambda r: drawn(r, only_second, only_first), lambda t: is_above(t, -MARGIN), within // EVERY)
        for _ in range(50)
    ]
    assert sum(one is not None for one in runs) >= share * 50


def test_a_version_worse_by_five_points_is_found_out_within_1500_labels():
    rng = random.Random(5)
    runs = [
        first_time(rng, lambda r: drawn(r, 0.03, 0.08), lambda t: is_below(t, -MARGIN, 0.025), 1500 // EVERY)
        for _ in range(50)
    ]
    assert sum(one is not None for one in runs) >= 45


def arrivals(rng, count, share, accuracies):
    """Labels of two versions that answer different texts."""
    chosen = [rng.random() < share for _ in range(count)]
    return [(is_second, rng.random() < accuracies[is_second]) for is_second in chosen]


def test_versions_that_answer_different_texts_are_compared_as_safely():
    rng, promoted = random.Random(6), 0
    for _ in range(60):
        came = arrivals(rng, 6000, 0.2, (0.86, 0.85))
        promoted += any(is_above(blocks(came[:end]), -MARGIN) for end in range(1000, 6001, 1000))
    assert promoted <= 0.05 * 60


def test_blocks_hold_each_label_once_and_differ_as_the_accuracies_do():
    rng = random.Random(7)
    found = blocks(arrivals(rng, 60_000, 0.3, (0.8, 0.9)))
    assert abs(mean(found) - 0.1) < 0.01
    assert blocks([(False, True), (False, False), (True, True), (True, True)]) == {0.5: 1}


def test_the_labels_said_to_be_needed_are_about_those_that_are():
    rng = random.Random(8)
    tally = Counter(drawn(rng, 0.05, 0.04) for _ in range(400))
    said = labels_needed(tally, -MARGIN)

    def decides(labels):
        return is_above({value: count * labels / 400 for value, count in tally.items()}, -MARGIN)

    ratio = (400 + said) / next(labels for labels in range(1, 100_000, 10) if decides(labels))
    assert 0.7 < ratio < 1.5
    assert labels_needed({1.0: 10, -1.0: 60, 0.0: 100}, -MARGIN) is None


def test_mcnemars_exact_test_is_the_binomial_test():
    for first, second in [*itertools.product(range(13), repeat=2), (40, 71), (1000, 1100), (30_000, 30_500)]:
        expected = binomtest(first, first + second).pvalue if first + second else 1.0
        assert math.isclose(mcnemar(first, second), expected, rel_tol=1e-7), (first, second)


def test_every_bet_leaves_something_to_bet_with():
    assert all(0 < bet < 1 for bet in BETS)
    assert math.isfinite(evidence({-1.0: 1000}, 0.99))
