import json
import random
import re
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from redis import Redis

from broker.streams import Tag
from tests.monitor.entries import START_MS, draw, feedback, labels_of, prediction_id, results_of
from tests.monitor.process import Process, running, store
from tests.servers import RedisServer, wait_until

pytestmark = pytest.mark.live
TAG = Tag("sentiment")
WRITTEN = 8000
KILLS = 7


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


def tagged(rng: np.random.Generator) -> dict[bytes, bytes]:
    return {b"tags": b'{"source": "s%d"}' % rng.integers(40)} if rng.random() < 0.5 else {}


def in_company(rng: np.random.Generator) -> dict[bytes, bytes]:
    """A live answer, or one of a shadow or a canary, some with a tag."""
    drawn = rng.random()
    if drawn < 0.1:
        return {b"role": b"shadow", b"version": b"2"}
    return tagged(rng) | ({b"role": b"canary", b"version": b"3"} if drawn < 0.2 else {})


def expect_estimates(models: Path) -> None:
    """Give version 1 a calibration, and versions 2 and 3 the same reference."""
    folder = models / "sentiment" / "1"
    profile = orjson.loads((folder / "reference.json").read_bytes())
    profile["calibration"] = {"confidence": [0.0, 0.5, 1.0], "accuracy": [0.2, 0.4, 0.9]}
    (folder / "reference.json").write_bytes(orjson.dumps(profile))
    for version in ("2", "3"):
        shutil.copytree(folder, folder.with_name(version))
        manifest = orjson.loads((folder / "model.json").read_bytes()) | {"version": version}
        (folder.with_name(version) / "model.json").write_bytes(orjson.dumps(manifest))


@pytest.mark.timeout(300)
def test_killing_the_monitor_again_and_again_changes_nothing(server: RedisServer, models: Path) -> None:
    rng = np.random.default_rng(21)
    draws = [draw(rng, WRITTEN // 2), draw(rng, WRITTEN // 2, longer=0.8)]
    results = [e for half, made in enumerate(draws) for e in results_of(made, START_MS + half * 1_000_000, 37)]
    results = [(entry_id, fields | in_company(rng)) for entry_id, fields in results]
    labels = labels_of((rng.random(WRITTEN // 2) < np.linspace(0.95, 0.5, WRITTEN // 2)).tolist(), step_ms=37)
    labels = [(entry_id, fields | tagged(rng)) for entry_id, fields in labels]
    expect_estimates(models)
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
            ahead = done if kills == KILLS else lambda: done() or state_of(server) != before  # noqa: B023
            wait_until(ahead, "it gets ahead", 60)
            time.sleep(pauses.uniform(0, 0.2))  # noise, not a wait: it shall die at any place
        finally:
            process.kill()
        kills += 1
    assert kills >= 2
    assert state_of(server) == expected
    found = orjson.loads(expected)
    assert [name for name, _ in found["results"]["shadows"]] == ["2"]
    assert {name for name, _ in found["results"]["tracks"]} == {"1", "3"}
    ((_, judgement),) = found["feedback"]["judgements"]
    assert judgement["slices"]["slices"]
    assert judgement["all"][-1] == WRITTEN // 2  # labels whose answers have an estimate
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
        "observa_drift_watched": "model,version",
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
        "observa_stream_entries_added_total": "model,stream",
        "observa_workers": "model",
        "observa_announced_texts_per_second": "model",
        "observa_log_gap_entries_total": "group,model,stream",
        "observa_monitor_lag_seconds": "model",
        "observa_snapshot_age_seconds": "model",
        "observa_measurement_failures_total": "measurement,model",
    }
    assert re.search(r"^process_start_time_seconds ", text, re.MULTILINE)
    found = dict(re.findall(r"^(observa_\w+){([^}]*)}", text, re.MULTILINE))
    for name, expected in labels.items():
        assert ",".join(sorted(re.findall(r'(\w+)="', found[name]))) == expected, name
    for bound in ("point", "lower", "upper"):
        assert f'bound="{bound}"' in text
    for feature in ("characters", "words", "tokens", "oov_ratio", "confidence", "predicted_label"):
        assert f'feature="{feature}",method="psi"' in text


def test_rare_labels_and_bins_are_watched_and_what_cannot_be_is_counted(server: RedisServer, models: Path) -> None:
    file = models / "sentiment" / "1" / "reference.json"
    profile = orjson.loads(file.read_bytes())
    profile["labels"] = {"negative": 4980, "positive": 20}
    profile["features"]["non_latin_ratio"] = {"edges": [0.0], "counts": [4999, 1]}
    shutil.copytree(file.parent, models / "sentiment" / "2")
    (models / "sentiment" / "2" / "reference.json").write_text(json.dumps(profile | {"labels": {"negative": 10**30}}))
    file.write_bytes(orjson.dumps(profile))
    with running(server, models) as process:
        told = results_of(draw(np.random.default_rng(23), 1200, positive=0.5))
        for version in (b"1", b"2"):
            write(server, TAG.results, [(b"*", fields | {b"version": version}) for _, fields in told])
        wait_until(lambda: process.report().get("versions", {}).keys() == {"1", "2"}, "both versions are known", 30)
        wait_until(lambda: read_to_the_end(process), "all is read", 30)
        report, metrics = process.report(), process.get("/metrics").decode()
    assert report["versions"]["1"]["unwatched"] is None
    assert report["versions"]["2"]["unwatched"]
    assert 'observa_drift_watched{model="sentiment",version="1"} 1.0' in metrics
    assert 'observa_drift_watched{model="sentiment",version="2"} 0.0' in metrics
    assert [sum(known["totals"].values()) for known in report["versions"].values()] == [len(told)] * 2
    assert {(alarm["version"], alarm["feature"]) for alarm in report["alarms"]} == {("1", "predicted_label")}


def owner_of(server: RedisServer) -> bytes:
    with Redis(port=server.port) as client:
        return client.hget(TAG.key("monitor"), "owner") or b""


def test_a_second_monitor_takes_over_and_the_first_says_so_and_leaves(server: RedisServer, models: Path) -> None:
    with running(server, models) as first:
        wait_until(lambda: state_of(server), "the first has written")
        before = owner_of(server)
        with running(server, models):
            wait_until(lambda: owner_of(server) != before, "the second has taken over")
            drawn = results_of(draw(np.random.default_rng(1), 5))
            write(server, TAG.results, [(b"*", fields) for _, fields in drawn])
            code, line = first.end()
    assert code == 2
    assert re.fullmatch(r"observa monitor: another monitor \(.+\) took over \{sentiment\}; stop one of the two", line)


def test_a_port_in_use_is_one_line_and_exit_code_2(server: RedisServer, models: Path) -> None:
    with running(server, models) as first:
        code, line = Process(server, models, monitor_port=first.port).start().end()
    assert code == 2
    assert line.startswith(f"observa monitor: cannot listen on 127.0.0.1 port {first.port}")


def test_a_server_that_is_not_there_is_one_line_and_exit_code_2(server: RedisServer, models: Path) -> None:
    code, line = Process(server, models, redis_url="redis://127.0.0.1:1/0", redis_wait_s=0).start().end()
    assert code == 2
    assert line.startswith("observa monitor: ")


def test_a_report_can_be_asked_of_one_version_since_a_time(server: RedisServer, models: Path) -> None:
    now = int(time.time() * 1000)
    write(server, TAG.results, [(b"*", fields) for _, fields in results_of(draw(np.random.default_rng(2), 300))])
    write(server, TAG.feedback, [(b"*", fields) for _, fields in labels_of([False] * 90, now - 5000)])
    with running(server, models) as process:
        wait_until(lambda: read_to_the_end(process), "all is read", 30)
        wait_until(lambda: process.report()["recent_alerts"], "the alarm is on record")
        for path in (
            "/report?model=sentiment&version=1&since=30m",
            f"/report/sentiment?version=1&since={now - 6000}",
        ):
            found = orjson.loads(process.get(path))
            version = found["versions"]["1"]
            assert version["windows"]["since"]["answered"] == version["over_time"][-1]["answered"] > 0
            assert sum(row["labelled"] for row in version["over_time"]) == 90
            assert found["recent_alerts"][0]["evidence"]["runbook"].startswith("docs/runbooks/")
        assert orjson.loads(process.get("/report/sentiment?version=9"))["versions"] == {}
        for path, status in (("?since=soon", 400), ("?hours=3", 400), ("?model=unheard-of", 404)):
            assert httpx.get(f"http://127.0.0.1:{process.port}/report{path}").status_code == status
