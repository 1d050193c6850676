"""A subset of the figures of `just bench-drift`, on recorded answers; seeds that nothing was chosen on."""

import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bench.monitor.accuracy import delay, false_pages
from bench.monitor.drift import BUDGET, delays, false_alarms, references
from bench.monitor.streams import Draw, changes, dependent, drawn, recorded, seasonal
from monitor.adwin import Adwin
from monitor.profiles import Profile

MOST = {
    "tweets": 50,
    "amazon": 150,
    "truncated": 60,
    "label shift .5 to .8": 350,
    "ramp to tweets over 5000": 1000,
    "10 % tweets": 1500,
}
SEED = 2000
RUNS = 9


@cache
def profiles() -> list[Profile]:
    return references(recorded(), 3, SEED)


def began(source: Draw, multiple: float = 1.0) -> int:
    """Alarms in 100 000 answers, all within the first two days, before the rhythm of a day is known."""
    found = false_alarms(source, 100_000, profiles(), multiple, SEED)
    return found.total() - found["later"]


def test_texts_that_repeat_each_other_raise_few_alarms_at_the_default_budget() -> None:
    movies = recorded()["movies"]
    assert began(dependent(movies, 0.6), BUDGET) <= 1
    assert began(seasonal(movies, 0.05), BUDGET) <= 6  # in the first two days; see RESULTS.md


def test_unchanged_texts_raise_at_most_ten_alarms_in_100_000() -> None:
    assert began(drawn(recorded()["movies"])) <= 10


@pytest.mark.parametrize("change", MOST)
def test_a_change_of_real_texts_is_found_in_time(change: str) -> None:
    found = recorded()
    waits = delays(drawn(found["movies"]), changes(found)[change], profiles(), RUNS, seed=SEED)
    known = [wait for wait in waits if wait is not None]
    assert len(known) == RUNS
    assert np.median(known) <= MOST[change]


@pytest.mark.parametrize(("after", "most"), [(0.75, 500), (0.70, 250), (0.60, 80)])
def test_a_fall_of_the_accuracy_is_paged_in_time(after: float, most: int) -> None:
    waits = [wait for seed in range(SEED, SEED + 25) if (wait := delay(after, seed, 10_000)) is not None]
    assert len(waits) == 25
    assert np.median(waits) <= most


def test_at_a_constant_accuracy_above_the_target_nothing_is_said_in_200_000_labels() -> None:
    assert false_pages(0.85, 200_000, SEED, 10_000) == (0, 0)


def test_adwin_answers_as_river_does() -> None:
    golden = json.loads((Path(__file__).parent / "data" / "adwin.json").read_text())
    for seed, stream in golden["streams"].items():
        rng, ours = random.Random(int(seed)), Adwin()
        values = [float(rng.random() < level) for level in stream["levels"] for _ in range(3000)]
        hits, states = [], []
        for at, value in enumerate(values, 1):
            if ours.update(value):
                hits.append(at)
                state = [ours.width, ours.total, ours.deviation]
                ours = Adwin()  # river begins anew after a change
            else:
                state = [ours.width, ours.total, ours.deviation]
            if at % 500 == 0:
                states.append(state)
        assert hits == stream["hits"]
        assert np.array(states) == pytest.approx(np.array(stream["state"]), abs=1e-9)
