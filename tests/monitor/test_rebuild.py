import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from redis import Redis

from broker.archived import Part, mark_of
from broker.archived_rows import batch_of
from broker.archiving import ArchiveWriter
from broker.streams import Tag
from monitor.panes import HOUR_MS
from monitor.rebuild import differences
from monitor.snapshot import checkpoints_key
from tests.monitor.entries import (
    START_MS,
    draw,
    entry,
    feedback,
    labels_of,
    on_wire,
    prediction_id,
    result,
    results_of,
)
from tests.monitor.process import running, store
from tests.servers import RedisServer, wait_until

TAG = Tag("sentiment")
STEP_MS = 40
COUNT = 6000


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return store(tmp_path / "models")


def history() -> tuple[list[Any], list[Any]]:
    """Traffic that becomes longer, labels that become wrong, corrections, evaluation runs, and what nobody can read."""
    rng = np.random.default_rng(5)
    drawn = [draw(rng, COUNT // 2), draw(rng, COUNT // 2, longer=1.6)]
    results = [
        entry_
        for half, made in enumerate(drawn)
        for entry_ in results_of(made, START_MS + half * COUNT // 2 * STEP_MS, STEP_MS)
    ]
    labels = labels_of((rng.random(COUNT // 2) < np.linspace(0.95, 0.4, COUNT // 2)).tolist(), step_ms=STEP_MS)
    end = START_MS + COUNT * STEP_MS
    run = {"evaluation": "run-1"}
    for i in range(50):
        made = prediction_id(START_MS + i * STEP_MS - 5, i)
        labels.append(entry(feedback(False, id=made, previous_label="positive"), end + i))
        results.append(entry(result(id=prediction_id(end, i), tags=run), end + i))
        labels.append(entry(feedback(i % 3 > 0, id=prediction_id(end, i), tags=run), end + i, 1))
    results.append((b"%d-0" % (end + 100), on_wire({"id": "?"})))
    return results, labels


@pytest.fixture
def counted(server: RedisServer, models: Path) -> RedisServer:
    """A server whose log a real monitor has read to its end."""
    results, labels = history()
    with Redis(port=server.port) as client, client.pipeline(transaction=False) as pipeline:
        for stream, entries in ((TAG.results, results), (TAG.feedback, labels)):
            for entry_id, fields in entries:
                pipeline.xadd(stream, fields, id=entry_id)
        pipeline.execute()
    often = {"monitor_read_count": 200, "monitor_snapshot_entries": 400, "monitor_checkpoint_h": 0.01}
    with running(server, models, **often) as monitor:
        wait_until(lambda: position(server) == [results[-1][0], labels[-1][0]], "everything is counted", 30)
        assert monitor.stop() == 0
    return server


def position(server: RedisServer) -> list[bytes | None]:
    with Redis(port=server.port) as client:
        return list(client.hmget(TAG.key("monitor"), "results", "feedback"))


def rebuild(server: RedisServer, models: Path, *arguments: str, archive: Path | None = None) -> tuple[int, str, str]:
    named = {"OBSERVA_ARCHIVE": str(archive)} if archive else {}
    environment = named | {"OBSERVA_REDIS_URL": server.url, "OBSERVA_MODELS": str(models), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "monitor.rebuild", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.live
def test_a_whole_log_gives_the_live_state_again_bit_for_bit_and_a_trimmed_one_what_it_covers(
    counted: RedisServer, models: Path
) -> None:
    status, out, _ = rebuild(counted, models)
    assert (status, "equal to the live state, bit for bit" in out) == (0, True), out
    assert f"{COUNT + 51} entries from" in out
    assert f"to {position(counted)[1].decode()}" in out

    with Redis(port=counted.port) as client:
        stored = orjson.loads(client.hget(TAG.key("monitor"), "state"))
        stored["feedback"]["outcomes"]["joined"] += 1
        client.hset(TAG.key("monitor"), "state", orjson.dumps(stored, option=orjson.OPT_SORT_KEYS))
    status, out, _ = rebuild(counted, models)
    assert status == 1
    assert f"feedback.outcomes.joined: live {COUNT // 2 + 1}, rebuilt {COUNT // 2}" in out

    with Redis(port=counted.port) as client:
        stored["feedback"]["outcomes"]["joined"] -= 1
        client.hset(TAG.key("monitor"), "state", orjson.dumps(stored, option=orjson.OPT_SORT_KEYS))
        client.xtrim(TAG.results, minid=START_MS + 1000 * STEP_MS, approximate=False)
        client.xtrim(TAG.feedback, minid=START_MS + 1000 * STEP_MS, approximate=False)
    status, out, _ = rebuild(counted, models)
    assert status == 0, out
    assert re.search(r"from the checkpoint of 20\S+ \S+Z, the oldest that the log reaches back to", out)
    assert "no longer there" not in out
    assert "equal to the live state, bit for bit" in out

    with Redis(port=counted.port) as client:
        client.delete(checkpoints_key(TAG))
    status, out, _ = rebuild(counted, models)
    assert status == 0, out
    assert "1000 others are no longer there" in out
    assert "equal to the live state in every minute and hour that the log still covers" in out


@pytest.mark.live
def test_the_archive_gives_the_live_state_again_where_the_log_is_gone(
    counted: RedisServer, models: Path, tmp_path: Path
) -> None:
    with Redis(port=counted.port) as client:
        born = client.get(TAG.born).decode()
        for kind, cut in (("results", 3000), ("feedback", 1500)):
            entries = client.xrange(TAG.key(kind))
            into_archive(tmp_path / "archive", kind, born, entries[: cut + 200])
            client.xtrim(TAG.key(kind), minid=entries[cut][0], approximate=False)
        client.delete(checkpoints_key(TAG))
    status, out, _ = rebuild(counted, models, "--archive", archive=tmp_path / "archive")
    assert (status, "equal to the live state, bit for bit" in out) == (0, True), out
    status, _, err = rebuild(counted, models, "--archive")
    assert (status, "no archive is named; set OBSERVA_ARCHIVE" in err) == (2, True), err


def into_archive(folder: Path, kind: str, born: str, entries: list[Any]) -> None:
    archive = ArchiveWriter(str(folder))
    archive.prepare()
    by_hour: dict[int, list[Any]] = {}
    for entry_id, fields in entries:
        by_hour.setdefault(int(entry_id.partition(b"-")[0]) // HOUR_MS, []).append((entry_id.decode(), fields))
    for rows in by_hour.values():
        part = Part.of(TAG, kind, mark_of(born), [entry_id for entry_id, _ in rows])
        archive.write(part, pa.Table.from_batches([batch_of(TAG, kind, rows)]))


@pytest.mark.live
def test_only_the_newest_checkpoints_are_kept(counted: RedisServer, models: Path) -> None:
    before = checkpoints(counted)
    assert len(before) > 3
    with running(counted, models, monitor_checkpoints=2, monitor_checkpoint_h=0.01, monitor_snapshot_s=0.05):
        with Redis(port=counted.port) as client:
            at = START_MS + (COUNT + 5000) * STEP_MS
            client.xadd(TAG.results, on_wire(result(id=prediction_id(at)).to_fields()), id=f"{at}-0")
        wait_until(lambda: len(checkpoints(counted)) == 2, "the others are gone")
    assert checkpoints(counted)[0] == before[-1]


def checkpoints(server: RedisServer) -> list[bytes]:
    with Redis(port=server.port) as client:
        return sorted(client.hkeys(checkpoints_key(TAG)))


@pytest.mark.live
def test_where_no_monitor_ever_ran_it_says_so(server: RedisServer, models: Path) -> None:
    status, _, err = rebuild(server, models)
    assert (status, err) == (
        2,
        "observa monitor-rebuild: no monitor has left a state of {sentiment}; start everything: just up\n",
    )


def test_a_difference_is_named_by_its_place() -> None:
    assert differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == ["a[1].b: live 2, rebuilt 3"]
    assert differences({"a": 1}, {"a": 1}) == []
    assert differences({"a": 1}, {}) == ["a: live 1, rebuilt null"]
