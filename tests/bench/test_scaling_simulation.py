"""The simulation is right where theory knows the answer, loses nothing, and tells policies apart."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from bench.scaling.scenarios import BASE, DAY, LOSS, lag_alone, row, run
from bench.scaling.service import Service
from bench.scaling.simulation import Surroundings, simulate

TEXTS = 60_000
# Ten times slower than a real worker: a tenth of the texts, and nothing else changes.
SLOW = Service({1: [0.055, 0.065, 0.075], 32: [1.5, 1.6, 1.7]})


def poisson(rate, seed):
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, TEXTS))


class OneByOne:
    """Takes one text at a time, for as long as the next of *times*."""

    batch = 1
    texts_per_second = 1.0

    def __init__(self, times):
        self._times = iter(times)

    def __call__(self, _texts):
        return next(self._times)


def exponential(seed):
    return OneByOne(np.random.default_rng(seed).exponential(1.0, TEXTS).tolist())


def waits(arrivals, work, workers):
    return simulate(arrivals, work, workers).latencies


def erlang_c(load, workers):
    full = load**workers / math.factorial(workers) / (1 - load / workers)
    return full / (sum(load**k / math.factorial(k) for k in range(workers)) + full)


@pytest.mark.parametrize("workers", [1, 4])
def test_random_service_waits_as_erlang_says(workers):
    load = 0.7 * workers
    found = np.mean([waits(poisson(load, seed), exponential(seed + 9), workers).mean() - 1 for seed in (1, 2)])
    assert found == pytest.approx(erlang_c(load, workers) / (workers - load), rel=0.08)


def test_constant_service_waits_as_pollaczek_and_khinchine_say():
    found = waits(poisson(0.7, 3), OneByOne(itertools.repeat(1.0)), 1).mean() - 1
    assert found == pytest.approx(0.7 / (2 * (1 - 0.7)), rel=0.05)


def test_a_text_alone_takes_its_service_and_a_crowd_shares_batches():
    alone = simulate(np.array([1.0]), SLOW, 1).latencies
    assert 0.05 <= alone[0] <= 0.08
    crowd = simulate(np.full(64, 1.0), SLOW, 1).latencies
    assert len(np.unique(crowd)) == 2


def test_texts_of_killed_workers_are_finished_by_others_after_the_claim_time():
    where = Surroundings(claim_s=6.0, replace_s=60.0)
    arrivals = np.arange(0, 60, 0.04)
    outcome = simulate(arrivals, SLOW, 4, where=where, losses=[(20.0, 2)])
    assert np.isfinite(outcome.finished).all()
    assert 6.0 < outcome.latencies.max() < 10.0
    assert outcome.worker_s == pytest.approx(4 * outcome.arrivals[-1], rel=0.05)


def test_through_a_day_the_policy_waits_less_than_lag_alone_with_fewer_workers():
    ours, theirs = (row("", run(DAY, policy, SLOW)) for policy in (BASE, replace(BASE, choose=lag_alone(20))))
    assert ours.late < theirs.late
    assert ours.workers < theirs.workers
    assert 2 * ours.changes < theirs.changes


def test_a_lost_node_is_made_up_for_before_kubernetes_replaces_it():
    outcome = run(LOSS, BASE, SLOW)
    assert np.isfinite(outcome.finished).all()
    lost_at = LOSS.losses[0][0]
    ready = [(at, count) for at, _, _, count in outcome.samples]
    before = max(count for at, count in ready if at < lost_at)
    just_after = min(count for at, count in ready if lost_at < at < lost_at + 10)
    made_up = max(count for at, count in ready if at < lost_at + LOSS.where.replace_s)
    assert just_after < LOSS.corners[0][1] < before <= made_up
