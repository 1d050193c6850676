"""Requests of the past through a version once more: what it says, and what nobody notices of it."""

import json
import random
import sys
import time

import pyarrow as pa
import pytest
from redis import Redis

from broker.archived import Part, mark_of
from broker.archived_rows import SCHEMAS, batch_of
from broker.archiving import ArchiveWriter
from broker.events import Request
from broker.streams import ARCHIVE, WORKERS, PredictionId, Tag
from tests.live.services import SHIPPED
from worker import replay
from worker.handler import Handler, sort_out
from worker.models import Served, load_version

MODEL = "sentiment-linear"
TAG = Tag(MODEL)
COUNT = 150


@pytest.fixture(scope="module")
def loaded():
    return load_version(SHIPPED / MODEL / "1")


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
    monkeypatch.setenv("OBSERVA_ALLOW_UNSAFE_REDIS", "true")
    with Redis(port=server.port) as client:
        yield client


@pytest.fixture
def answered(client, loaded):
    """A log of requests that version 1 has answered, one by one, as a worker would."""
    draw, words = random.Random(7), sorted(loaded.vocabulary)
    handler = Handler(Served(MODEL, "1", {"1": loaded}), "w", lambda: 0.0, time.perf_counter)
    for number in range(COUNT):
        text = " ".join(draw.choices(words, k=draw.randint(3, 30)))
        threshold = 0.9 if number % 10 == 0 else None
        asked = Request(id=str(PredictionId.new(TAG)), text=text, pinned=True, version="1", threshold=threshold)
        client.xadd(TAG.requests, asked.to_fields())
    client.xadd(TAG.requests, {"text": "by hand"})
    client.xadd(TAG.requests, {"no": "request"})
    client.xgroup_create(TAG.requests, WORKERS, id="$")
    for entry in client.xrange(TAG.requests):
        for arrival in sort_out(TAG, [(entry[0].decode(), entry[1])], "w").arrivals:
            [settled] = handler.handle([arrival]).settlements
            client.xadd(TAG.results, settled.result.to_fields())
    return client


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["replay", MODEL, *arguments])
    monkeypatch.setattr("os.nice", lambda _: None)
    return replay.main()


def test_the_version_that_answered_gives_every_label_again_and_nobody_notices(answered, monkeypatch, capsys):
    before = answered.xinfo_groups(TAG.requests), answered.xlen(TAG.results), answered.xlen(TAG.requests)
    assert run(monkeypatch, "--from", "1h", "--version", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["requests"] == COUNT + 1
    assert found["unreadable"] == 1
    assert found["unanswered"] == 0
    assert found["same_version"] == {
        "compared": COUNT + 1,
        "differences": 0,
        "furthest_confidence": 0.0,
        "ids": [],
    }
    assert before == (answered.xinfo_groups(TAG.requests), answered.xlen(TAG.results), answered.xlen(TAG.requests))
    side = answered.xrange(found["side_stream"])
    assert len(side) == COUNT + 1
    assert {fields[b"role"] for _, fields in side} == {b"shadow"}
    assert 0 < answered.ttl(found["side_stream"]) <= 86_400
    keys = {key.decode() for key in answered.scan_iter()}
    assert keys == {TAG.requests, TAG.results, found["side_stream"]}


def test_a_label_that_is_another_now_is_named_and_ends_with_1(answered, monkeypatch, capsys):
    [(entry_id, fields)] = answered.xrevrange(TAG.results, count=1)
    answered.xdel(TAG.results, entry_id)
    other = b"positive" if fields[b"label"] == b"negative" else b"negative"
    answered.xadd(TAG.results, fields | {b"label": other})
    assert run(monkeypatch, "--from", "1h", "--version", "1") == 1
    said = capsys.readouterr().out
    assert "VERSION 1 ITSELF ANSWERED 1 OTHERWISE" in said
    assert fields[b"id"].decode() in said


def test_a_label_of_another_version_may_differ(answered, monkeypatch, capsys):
    entries = answered.xrange(TAG.results)
    answered.delete(TAG.results)
    for _, fields in entries:
        answered.xadd(TAG.results, fields | {b"version": b"0", b"label": b"negative"})
    assert run(monkeypatch, "--from", "1h", "--version", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["same_version"]["compared"] == 0
    pairs = {(row["then"], row["now"]): row["count"] for row in found["by_version"]["0"]}
    assert sum(pairs.values()) == COUNT + 1
    assert pairs["negative", "positive"] > 0


@pytest.mark.parametrize("options", [[], ["--source", "archive"]])
def test_what_the_log_has_forgotten_comes_from_the_archive(answered, monkeypatch, capsys, tmp_path, options):
    archive = ArchiveWriter(str(tmp_path / "archive"))
    archive.prepare()
    for kind in ("requests", "results"):
        entries = [(entry_id.decode(), fields) for entry_id, fields in answered.xrange(TAG.key(kind))]
        part = Part.of(TAG, kind, mark_of("0" * 16), [entry_id for entry_id, _ in entries])
        archive.write(part, pa.Table.from_batches([batch_of(TAG, kind, entries)], SCHEMAS[kind]))
        answered.xtrim(TAG.key(kind), maxlen=COUNT // 3)
    monkeypatch.setenv("OBSERVA_ARCHIVE", str(tmp_path / "archive"))
    assert run(monkeypatch, "--from", "1h", "--version", "1", "--json", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["same_version"]["compared"] == COUNT + 1
    assert ARCHIVE not in {group["name"].decode() for group in answered.xinfo_groups(TAG.requests)}


def test_a_range_takes_its_own_time_when_it_is_told_how_fast(answered, monkeypatch, capsys):
    first, last = (int(answered.xrange(TAG.requests)[at][0].partition(b"-")[0]) for at in (0, -1))
    speed = (last - first) / 1000 / 0.5
    assert run(monkeypatch, "--from", "1h", "--version", "1", "--json", "--speed", str(max(speed, 0.001))) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] >= 0.3


@pytest.mark.parametrize(
    ("arguments", "setting", "said"),
    [
        (["--from", "1h", "--version", "77"], "retention", "77"),
        (["--from", "2020-01-01", "--to", "2020-01-02", "--version", "1"], "retention", "there is no request"),
        (["--from", "now", "--to", "1h", "--version", "1"], "retention", "--from is not before --to"),
        (["--from", "1h", "--version", "1"], "none", "removes each once it is answered"),
        (["--from", "1h", "--version", "1", "--source", "archive"], "retention", "there is no archive"),
    ],
)
@pytest.mark.usefixtures("client")
def test_what_cannot_be_replayed_is_said_in_one_line(monkeypatch, capsys, arguments, setting, said):
    monkeypatch.setenv("OBSERVA_STORE_TEXT", setting)
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("observa replay: ")
    assert said in error
    assert "\n" not in error
