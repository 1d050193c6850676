"""The simulation is right where theory knows the answer, loses nothing, and tells policies apart."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.scaling.scenarios import BASE, LOSS, POLICIES, SPIKE, row, run
from bench.scaling.service import Service
from bench.scaling.simulation import Surroundings, simulate

TEXTS = 60_000
# Ten times slower than a real worker: a tenth of the texts, and nothing else changes.
SLOW = Service({1: [0.055, 0.065, 0.075], 32: [1.5, 1.6, 1.7]})


def poisson(rate, seed):
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, TEXTS))


def exponential(seed):
    times = iter(np.random.default_rng(seed).exponential(1.0, TEXTS).tolist())
    return lambda _texts: next(times)


def waits(arrivals, service, workers):
    return simulate(arrivals, service, workers, batch=1).latencies


def erlang_c(load, workers):
    full = load**workers / math.factorial(workers) / (1 - load / workers)
    return full / (sum(load**k / math.factorial(k) for k in range(workers)) + full)


@pytest.mark.parametrize("workers", [1, 4])
def test_random_service_waits_as_erlang_says(workers):
    load = 0.7 * workers
    found = np.mean([waits(poisson(load, seed), exponential(seed + 9), workers).mean() - 1 for seed in (1, 2)])
    assert found == pytest.approx(erlang_c(load, workers) / (workers - load), rel=0.08)


def test_constant_service_waits_as_pollaczek_and_khinchine_say():
    found = waits(poisson(0.7, 3), lambda _texts: 1.0, 1).mean() - 1
    assert found == pytest.approx(0.7 / (2 * (1 - 0.7)), rel=0.05)


def test_a_text_alone_takes_its_service_and_a_crowd_shares_batches():
    alone = simulate(np.array([1.0]), SLOW, 1, batch=32).latencies
    assert 0.05 <= alone[0] <= 0.08
    crowd = simulate(np.full(64, 1.0), SLOW, 1, batch=32).latencies
    assert len(np.unique(crowd)) == 2


def test_texts_of_killed_workers_are_finished_by_others_after_the_claim_time():
    where = Surroundings(claim_s=6.0, replace_s=60.0)
    arrivals = np.arange(0, 60, 0.04)
    outcome = simulate(arrivals, SLOW, 4, batch=32, where=where, losses=[(20.0, 2)])
    assert np.isfinite(outcome.finished).all()
    assert 6.0 < outcome.latencies.max() < 10.0
    assert outcome.worker_s == pytest.approx(4 * outcome.arrivals[-1], rel=0.05)


def test_the_policy_meets_a_spike_that_lag_alone_is_swamped_by():
    ours, theirs = (row(name, run(SPIKE, POLICIES[name], SLOW)) for name in ("recommended", "lag alone"))
    assert ours.expired == 0
    assert ours.p99_s < theirs.p99_s
    assert theirs.changes > 2 * ours.changes


def test_a_lost_node_is_made_up_for_before_it_is_replaced():
    outcome = run(replace(LOSS, corners=((0, 4), (900, 4))), BASE, SLOW)
    assert np.isfinite(outcome.finished).all()
    ready = {at: count for at, _, _, count in outcome.samples}
    assert ready[605.0] < ready[595.0]
    assert ready[895.0] >= 4 / 0.6 - 1
