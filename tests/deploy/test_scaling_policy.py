"""How many workers: the policy, its pace, and that Prometheus' rules say the same."""

import itertools
import math
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deploy.scaling.policy import KUBERNETES, LOCAL, Demand, Governor, Pace, Targets, workers_wanted

RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "rules" / "scaling.yml"
TARGETS = Targets(utilisation=0.5, drain_s=2, oldest_s=5, growth=2)
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


QUIET = Demand(arrivals_per_second=0, lag=0, pending=0, oldest_s=0, workers=2, texts_per_second=200)


def demand(**asked):
    return replace(QUIET, **asked)


def test_what_arrives_keeps_the_number_up_while_nothing_waits():
    wanted = workers_wanted([demand(arrivals_per_second=250)], TARGETS)
    assert wanted.workers == wanted.rate == 5


def test_what_is_turned_away_would_arrive_too_up_to_four_times_what_does():
    assert workers_wanted([demand(arrivals_per_second=100, refused=0.5)], TARGETS).rate == 4
    assert workers_wanted([demand(arrivals_per_second=100, refused=0.99)], TARGETS).rate == 8


def test_what_was_delivered_and_not_finished_counts_though_there_is_no_lag():
    wanted = workers_wanted([demand(pending=600)], TARGETS)
    assert wanted.workers == wanted.backlog == 3


def test_age_grows_the_number_by_a_factor_that_is_bounded():
    assert workers_wanted([demand(lag=1, oldest_s=7.5)], TARGETS).age == 3
    assert workers_wanted([demand(lag=1, oldest_s=500)], TARGETS).age == 4


def test_a_text_that_one_worker_hangs_on_asks_for_no_more_workers():
    assert workers_wanted([demand(lag=0, pending=1, oldest_s=500)], TARGETS).workers < 1


def test_where_the_lag_is_unknown_the_age_speaks():
    wanted = workers_wanted([demand(lag=None, pending=10, oldest_s=10)], TARGETS)
    assert wanted.workers == wanted.age == 4


def test_models_share_the_workers_so_their_wants_add_up():
    one, other = demand(arrivals_per_second=100), demand(arrivals_per_second=100, texts_per_second=50)
    assert workers_wanted([one, other], TARGETS).rate == 2 + 8


def test_nothing_is_known_when_texts_wait_and_no_worker_says_how_fast_it_is():
    assert workers_wanted([demand(lag=3, workers=0, texts_per_second=0)], TARGETS) is None
    assert workers_wanted([demand(workers=0, texts_per_second=0)], TARGETS).workers == 0


PACE = Pace(up_factor=2, up_step=1, up_period_s=10, down_share=0.0, down_step=1, down_period_s=10, settle_s=30)


def run(governor, current, wants, every_s=5.0):
    numbers = []
    for turn, wanted in enumerate(wants):
        current = governor.decide(turn * every_s, current, wanted)
        numbers.append(current)
    return numbers


def test_it_grows_at_once_and_no_faster_than_its_pace():
    assert run(Governor(1, 64, PACE), 2, [20] * 8) == [4, 4, 8, 8, 16, 16, 20, 20]


def test_it_shrinks_only_when_less_has_been_enough_for_long():
    assert run(Governor(1, 64, PACE), 4, [4, 1, 1, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1]) == [4] * 10 + [3, 3, 2]


def test_it_never_leaves_its_bounds():
    draw = random.Random(1)
    numbers = run(Governor(2, 5, LOCAL), 3, [draw.uniform(0, 50) for _ in range(500)])
    assert min(numbers) >= 2
    assert max(numbers) == 5
    assert run(Governor(2, 5, LOCAL), 9, [9])[0] == 5


def test_a_small_difference_changes_nothing():
    assert run(Governor(1, 64, PACE), 10, [10.9] * 3) == [10, 10, 10]
    assert run(Governor(1, 64, PACE), 10, [11.1])[0] == 12


def test_it_does_not_swing_when_the_wants_do():
    draw = random.Random(2)
    wants = [6 + draw.uniform(-2, 2) for _ in range(300)]
    numbers = run(Governor(1, 64, KUBERNETES), 6, wants, every_s=15)
    assert sum(a != b for a, b in itertools.pairwise(numbers)) <= 8


@needs_promtool
def test_the_recording_rules_say_what_the_policy_says(tmp_path):
    draw, tests = random.Random(3), []
    for case in range(25):
        asked = Demand(
            arrivals_per_second=draw.choice([0, 2, 900]),
            lag=draw.choice([None, 0, 5, 3000]),
            pending=draw.choice([0, 64]),
            oldest_s=draw.choice([0, 3, 90]),
            workers=draw.choice([1, 4]),
            texts_per_second=draw.choice([150, 700]),
            refused=draw.choice([0, 0.5, 0.9]),
        )
        wanted = workers_wanted([asked], Targets())
        expected = {"by_rate": wanted.rate, "by_backlog": wanted.backlog, "by_age": wanted.age}
        if asked.lag == 0:
            del expected["by_age"]  # no sample, which is less than any
        tests.append({"name": str(case), "interval": "5s", "input_series": series(asked), **expectation(expected)})
    unseen = demand(arrivals_per_second=5, lag=3, workers=0, texts_per_second=0)
    tests.append({"name": "no worker", "interval": "5s", "input_series": series(unseen), **expectation({})})
    blind = [
        *series(demand(lag=3)),
        {"series": 'observa_measurement_failures_total{model="m",measurement="groups"}', "values": "0+1x24"},
    ]
    tests.append({"name": "blind", "interval": "5s", "input_series": blind, **expectation({})})
    shutil.copy(RULES, tmp_path)
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["scaling.yml"], "evaluation_interval": "5s", "tests": tests})
    )
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def series(asked):
    group = 'model="m",stream="requests",group="workers"'
    values = {
        'observa_stream_entries_added_total{model="m",stream="requests"}': f"0+{5 * asked.arrivals_per_second}x24",
        f"observa_stream_lag_entries{{{group}}}": None if asked.lag is None else f"{asked.lag}x24",
        f"observa_stream_pending_entries{{{group}}}": f"{asked.pending}x24",
        f"observa_stream_oldest_seconds{{{group}}}": f"{asked.oldest_s}x24",
        'observa_requests_total{model="m",status="200"}': f"0+{1000 * (1 - asked.refused):.0f}x24",
        'observa_requests_total{model="other",status="503"}': f"0+{1000 * asked.refused:.0f}x24",
        'observa_workers{model="m"}': f"{asked.workers}x24",
        'observa_announced_texts_per_second{model="m"}': f"{asked.texts_per_second}x24",
    }
    return [{"series": name, "values": value} for name, value in values.items() if value is not None]


def expectation(expected):
    """Each rule's only sample, rounded, as promtool compares exactly; or none."""
    cases = []
    for rule in ("by_rate", "by_backlog", "by_age"):
        samples = []
        if rule in expected:
            value = math.floor(expected[rule] * 1000 + 0.5)
            samples = [{"labels": '{model="m"}', "value": value}]
        cases.append(
            {
                "expr": f"floor(model:observa_workers_wanted:{rule} * 1000 + 0.5)",
                "eval_time": "2m",
                "exp_samples": samples,
            }
        )
    return {"promql_expr_test": cases}
