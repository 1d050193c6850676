import random
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from broker.streams import Tag
from tests.monitor.entries import START_MS, draw, feedback, labels_of, prediction_id, results_of
from tests.monitor.process import Process, running, store
from tests.servers import RedisServer, wait_until

pytestmark = pytest.mark.live
TAG = Tag("sentiment")
WRITTEN = 8000


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return store(tmp_path / "models")


def write(server: RedisServer, stream: str, entries: list[Any], explicit: bool = False) -> None:
    with Redis(port=server.port) as client, client.pipeline(transaction=False) as pipeline:
        for entry_id, fields in entries:
            pipeline.xadd(stream, fields, id=entry_id if explicit else "*")
        pipeline.execute()


def state_of(server: RedisServer) -> bytes:
    with Redis(port=server.port) as client:
        return client.hget(TAG.key("monitor"), "state") or b""


def read_to_the_end(process: Process) -> bool:
    own = process.report().get("monitor", {})
    groups = own.get("groups", {})
    return all(groups.get(f"{stream}/monitor", {}).get("lag") == 0 for stream in ("results", "feedback"))


def test_killing_the_monitor_again_and_again_changes_nothing(server: RedisServer, models: Path) -> None:
    rng = np.random.default_rng(21)
    draws = [draw(rng, WRITTEN // 2), draw(rng, WRITTEN // 2, longer=0.8)]
    results = [e for half, made in enumerate(draws) for e in results_of(made, START_MS + half * 1_000_000, 37)]
    labels = labels_of((rng.random(WRITTEN // 2) < np.linspace(0.95, 0.5, WRITTEN // 2)).tolist(), step_ms=37)
    write(server, TAG.results, results, explicit=True)
    write(server, TAG.feedback, labels, explicit=True)
    slow = {"monitor_read_count": 60, "monitor_snapshot_entries": 240}

    def done() -> bool:
        with Redis(port=server.port) as client:
            at = client.hmget(TAG.key("monitor"), "results", "feedback")
        return bool(at == [results[-1][0], labels[-1][0]])

    def alerts() -> list[Any]:
        with Redis(port=server.port) as client:
            return [fields for _, fields in client.xrange(TAG.alerts)]

    with running(server, models, monitor_read_count=1000):
        wait_until(done, "the whole log is read", 40)
        wait_until(lambda: state_of(server), "a snapshot")
    expected, told = state_of(server), alerts()
    with Redis(port=server.port) as client:
        client.delete(TAG.key("monitor"), TAG.alerts)

    pauses, kills = random.Random(5), 0
    while not done():
        before = state_of(server)
        process = Process(server, models, **slow).start()
        try:
            wait_until(lambda: done() or state_of(server) != before, "it gets ahead")  # noqa: B023
            time.sleep(pauses.uniform(0, 0.2))  # noise, not a wait: it shall die at any place
        finally:
            process.kill()
        kills += 1
    assert kills >= 2
    assert state_of(server) == expected
    assert sorted(map(str, alerts())) == sorted(map(str, told))
    assert told


def test_an_alarm_begins_and_ends_from_the_streams_to_the_metrics(server: RedisServer, models: Path) -> None:
    alarm = 'observa_alarm_active{detector="e-sr",feature="accuracy",model="sentiment"}'

    def metric() -> str:
        text = process.get("/metrics").decode()
        return next((line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(alarm)), "")

    def written() -> int:
        with Redis(port=server.port) as client:
            return int(client.xlen(TAG.alerts))

    def say(correct: bool, count: int) -> None:
        now = int(time.time() * 1000)
        entries = [(b"*", feedback(correct, id=prediction_id(now - 10, i)).to_fields()) for i in range(count)]
        write(server, TAG.feedback, entries)

    with running(server, models) as process:
        say(True, 100)
        wait_until(lambda: metric() == "0.0", "the alarm is known and off")
        say(False, 100)
        wait_until(lambda: metric() == "1.0", "the alarm is on")
        alarms = process.report()["alarms"]
        assert {(a["detector"], a["severity"]) for a in alarms} >= {("e-sr", "page"), ("wilson", "ticket")}
        say(True, 300)
        wait_until(lambda: metric() == "0.0", "the alarm is off again")
        wait_until(lambda: written() == 6, "beginnings and ends are written")
        assert process.stop() == 0


def test_the_metrics_have_the_names_that_dashboards_rely_on(server: RedisServer, models: Path) -> None:
    now = int(time.time() * 1000)
    with running(server, models) as process:
        rng = np.random.default_rng(22)
        write(server, TAG.results, [(b"*", fields) for _, fields in results_of(draw(rng, 600))])
        write(server, TAG.feedback, [(b"*", f) for _, f in labels_of([True] * 80 + [False] * 20, now - 9000)])
        wait_until(lambda: b'window="1h"' in process.get("/metrics"), "windows are filled")
        wait_until(lambda: read_to_the_end(process), "all is read", 30)
        text = process.get("/metrics").decode()
    labels = {
        "observa_monitored_results_total": "label,model,role,status,version",
        "observa_drift_score": "feature,method,model,version,window",
        "observa_drift_threshold": "feature,method,model,version,window",
        "observa_alarm_active": "detector,feature,model",
        "observa_accuracy_ratio": "bound,model,version,window",
        "observa_accuracy_samples": "model,version,window",
        "observa_precision_ratio": "label,model,version,window",
        "observa_recall_ratio": "label,model,version,window",
        "observa_f1_ratio": "label,model,version,window",
        "observa_calibration_error_ratio": "model,version,window",
        "observa_label_coverage_ratio": "model,version,window",
        "observa_feedback_total": "model,outcome",
        "observa_feedback_delay_seconds_bucket": "le,model",
        "observa_stream_lag_entries": "group,model,stream",
        "observa_stream_pending_entries": "group,model,stream",
        "observa_log_gap_entries_total": "group,model,stream",
        "observa_monitor_lag_seconds": "model",
        "observa_snapshot_age_seconds": "model",
        "observa_measurement_failures_total": "measurement,model",
    }
    found = dict(re.findall(r"^(observa_\w+){([^}]*)}", text, re.MULTILINE))
    for name, expected in labels.items():
        assert ",".join(sorted(re.findall(r'(\w+)="', found[name]))) == expected, name
    for bound in ("point", "lower", "upper"):
        assert f'bound="{bound}"' in text
    for feature in ("characters", "words", "tokens", "oov_ratio", "confidence", "predicted_label"):
        assert f'feature="{feature}",method="psi"' in text


def test_a_second_monitor_takes_over_and_the_first_says_so_and_leaves(server: RedisServer, models: Path) -> None:
    with running(server, models) as first, running(server, models):
        write(server, TAG.results, [(b"*", fields) for _, fields in results_of(draw(np.random.default_rng(1), 5))])
        code, line = first.end()
    assert code == 2
    assert re.fullmatch(r"observa monitor: another monitor \(.+\) took over \{sentiment\}; stop one of the two", line)


def test_a_port_in_use_is_one_line_and_exit_code_2(server: RedisServer, models: Path) -> None:
    with running(server, models) as first:
        code, line = Process(server, models, monitor_port=first.port).start().end()
    assert code == 2
    assert line.startswith(f"observa monitor: cannot listen on 127.0.0.1:{first.port}")


def test_a_server_that_is_not_there_is_one_line_and_exit_code_2(server: RedisServer, models: Path) -> None:
    code, line = Process(server, models, redis_url="redis://127.0.0.1:1/0").start().end()
    assert code == 2
    assert line.startswith("observa monitor: ")
