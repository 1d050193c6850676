"""`just autoscale`: what it reads, when it keeps still, and that it follows a load without losing a request."""

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local import autoscale, scale
from deploy.local.autoscale import Arrivals, Bounds, Calls, Seen, read, read_calls
from deploy.local.settings import StackSettings
from deploy.scaling.policy import LOCAL, Governor
from tests.deploy.conftest import ROOT, Stack
from tests.live.services import make_model
from tests.servers import wait_until

SEEN = Seen(added=1000, lag=0, pending=0, oldest_s=0, workers=2, texts_per_second=100, failures=0)
SHOWN = """
# TYPE observa_stream_lag_entries gauge
observa_stream_lag_entries{model="a",stream="requests",group="workers"} 7
observa_stream_lag_entries{model="a",stream="requests",group="shadow.2"} 900
observa_stream_lag_entries{model="a",stream="results",group="monitor"} 800
# TYPE observa_stream_pending_entries gauge
observa_stream_pending_entries{model="a",stream="requests",group="workers"} 3
observa_stream_pending_entries{model="b",stream="requests",group="workers"} 2
# TYPE observa_stream_oldest_seconds gauge
observa_stream_oldest_seconds{model="a",stream="requests",group="workers"} 1.5
# TYPE observa_stream_entries_added_total counter
observa_stream_entries_added_total{model="a",stream="requests"} 41
observa_stream_entries_added_total{model="b",stream="requests"} 5
# TYPE observa_workers gauge
observa_workers{model="a"} 2
# TYPE observa_announced_texts_per_second gauge
observa_announced_texts_per_second{model="a"} 300
# TYPE observa_measurement_failures_total counter
observa_measurement_failures_total{model="a",measurement="groups"} 4
observa_measurement_failures_total{model="a",measurement="snapshot"} 9
"""


def test_it_reads_the_requests_of_the_group_that_answers():
    assert read(SHOWN) == {
        "a": Seen(added=41, lag=7, pending=3, oldest_s=1.5, workers=2, texts_per_second=300, failures=4),
        "b": Seen(added=5, lag=None, pending=2, oldest_s=0, workers=0, texts_per_second=0, failures=0),
    }


def test_arrivals_are_the_slope_of_a_count_over_twenty_seconds():
    arrivals = Arrivals()
    rates = [
        arrivals.demands(5.0 * turn, {"m": SEEN._replace(added=added)}, Calls())[0].arrivals_per_second
        for turn, added in enumerate([1000, 1100, 1200, 1200, 1200, 1200, 1200, 1200])
    ]
    assert rates == [0, 20, 20, pytest.approx(200 / 15), 10, 5, 0, 0]


def test_another_log_begins_a_new_count():
    arrivals = Arrivals()
    arrivals.demands(0, {"m": SEEN}, Calls())
    assert arrivals.demands(5, {"m": SEEN._replace(added=10)}, Calls())[0].arrivals_per_second == 0
    assert arrivals.demands(10, {"m": SEEN._replace(added=60)}, Calls())[0].arrivals_per_second == 10


def test_who_is_turned_away_is_a_share_of_all_calls():
    arrivals = Arrivals()
    arrivals.demands(0, {"m": SEEN}, Calls(100, 40))
    assert arrivals.demands(5, {"m": SEEN}, Calls(200, 65))[0].refused == 0.25
    shown = """
# TYPE observa_requests_total counter
observa_requests_total{model="a",status="200"} 60
observa_requests_total{model="other",status="503"} 5
observa_requests_total{model="a",status="503"} 35
"""
    assert read_calls(shown) == Calls(ended=100, refused=40)


@pytest.mark.parametrize(
    ("looks", "why"),
    [
        ([None], "the monitor does not answer"),
        ([{"m": SEEN}, {"m": SEEN._replace(failures=1)}], "the monitor cannot see the log"),
        ([{"m": SEEN._replace(lag=5, workers=0)}], "texts wait and no worker says how fast it is"),
    ],
)
def test_what_is_not_known_changes_nothing(monkeypatch, looks, why):
    seen = iter(looks)
    monkeypatch.setattr(autoscale, "_look", lambda _settings: next(seen))
    monkeypatch.setattr(autoscale, "_calls", lambda _settings: Calls())
    governor, arrivals = Governor(1, 8, LOCAL), Arrivals()
    for _ in looks:
        number, line = autoscale._decide(StackSettings(), governor, arrivals, 4, Bounds(1, 8))
    assert (number, line) == (4, f"hold 4: {why}")


@pytest.mark.parametrize("bounds", [("0", "2"), ("3", "2"), ("1", "65")])
def test_bounds_that_make_no_sense_are_refused(stack, bounds):
    code, said = stack.run("autoscale", *bounds)
    assert code == 2
    assert "MIN and MAX must be 1 to 64" in said


def test_where_nothing_runs_it_says_so_and_ends(stack):
    assert stack.run("autoscale", "1", "2") == (2, f"observa autoscale: {scale.NOTHING_RUNS}\n")


def test_in_compose_it_counts_the_containers(stack):
    (stack.root / "compose.yaml").touch()
    docker = stack.root / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\nprintf '0123abcd\\n4567cdef\\n89abcdef\\n'\n")
    docker.chmod(0o755)
    process = stack.begin("autoscale", "1", "4", PATH=f"{docker.parent}:{stack.environment['PATH']}")
    try:
        assert "hold 3: the monitor does not answer" in process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Stack]:
    """The real services with one slow worker, running."""
    for room in ("deploy", "broker", "requirements", "gateway", "monitor", "worker"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).with_name("slow_worker.py"), tmp_path / "worker" / "__main__.py")
    make_model(tmp_path / "models", "slow", kind="slow")
    stack = Stack(tmp_path)
    stack.environment |= {
        "OBSERVA_MODELS": str(tmp_path / "models"),
        "OBSERVA_MODEL": "slow",
        "OBSERVA_WORKERS": "1",
        "OBSERVA_GATEWAY_QUEUE_MS": "30000",  # callers wait while a worker starts, instead of being told to come again
    }
    stack.ok("up")
    yield stack
    stack.end()


async def load(port: int, seconds: float, per_second: float) -> Counter[str]:
    """How many calls, begun at a constant rate, were answered, or ended with which problem."""
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=1000)) as client:
        url, body = f"http://127.0.0.1:{port}/predict", {"text": "a fine film"}
        calls = []
        for _ in range(int(seconds * per_second)):
            calls.append(asyncio.create_task(client.post(url, json=body)))
            await asyncio.sleep(1 / per_second)
        answers = [(await call).json() for call in calls]
        return Counter(answer.get("code", "answered") for answer in answers)


@pytest.mark.live
@pytest.mark.timeout(150)
def test_a_load_brings_workers_and_its_end_takes_them_away_and_every_request_is_answered(slow):
    scaler = slow.begin("autoscale", "1", "2", "--every", "1", "--settle", "4")
    try:
        assert asyncio.run(load(slow.gateway_port, seconds=10, per_second=70)) == {"answered": 700}
        wait_until(lambda: slow.run("status")[1].count("worker-") == 1, "one worker is left", timeout_s=60)
    finally:
        scaler.terminate()
        said, _ = scaler.communicate(timeout=30)
    assert re.findall(r"scale (\d) -> (\d)", said) == [("1", "2"), ("2", "1")]
    assert re.search(r"scale 1 -> 2: [\d.]+ texts/s arrive \(wants [\d.]+\), \d+ wait and \d+ are worked on", said)
