"""One bad thing stops, at most, the judging of its own model."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from prometheus_client import generate_latest
from redis.asyncio import Redis
from starlette.testclient import TestClient

from broker.connection import Clock
from broker.errors import StoreError
from broker.manifest import Calibration
from broker.streams import SERVED, Tag
from monitor import aside
from monitor.app import application
from monitor.comparing import Comparisons
from monitor.metrics import registry
from monitor.monitor import Monitor
from monitor.panes import WINDOWS
from monitor.profiles import NO_REFERENCE, Profile, Profiles, build
from monitor.reading import Reader
from monitor.report import summarise
from monitor.settings import MonitorSettings, Rules
from monitor.state import State
from monitor.track import OK, Track
from tests.monitor.entries import (
    START_MS,
    as_version_4,
    draw,
    entry,
    feedback,
    fold_all,
    labels_of,
    prediction_id,
    profile_of,
    reference,
    result,
    results_of,
    state,
)
from tests.monitor.process import store
from tests.servers import RedisServer, eventually

BAD, GOOD = Tag("borrowed"), Tag("sentiment")
POISON = prediction_id(START_MS, 13)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the fold raise, half-way, at the prediction `POISON`."""
    whole = Track.fold

    def fold(self: Track, rows: Any, values: Any, chosen: Any) -> Any:
        told = whole(self, rows, values, chosen)
        if POISON in [rows.ids[at] for at in chosen]:
            raise ArithmeticError("a text of a caller")
        return told

    monkeypatch.setattr(Track, "fold", fold)


@asynccontextmanager
async def watching(redis: Redis, server: RedisServer, folder: Path, **settings: Any) -> AsyncIterator[Monitor]:
    chosen = {"redis_url": server.url, "models": store(folder), "monitor_snapshot_s": 0.05} | settings
    monitor, stop = Monitor(redis, MonitorSettings(**chosen)), asyncio.Event()
    await redis.zadd(SERVED, {BAD.model: 1})
    running = asyncio.create_task(monitor.run(stop))
    try:
        yield monitor
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)


async def add(redis: Redis, tag: Tag, first: int, count: int) -> None:
    pipeline = redis.pipeline(transaction=False)
    for number in range(first, first + count):
        pipeline.xadd(tag.results, result(id=prediction_id(START_MS, number)).to_fields())  # type: ignore[arg-type]
    await pipeline.execute()


async def counted(monitor: Monitor, tag: Tag, answers: int) -> None:
    def reached() -> bool:
        reader = monitor.readers.get(tag)
        tracks = reader.state.results.tracks.values() if reader else ()
        return sum(sum(track.totals.values()) for track in tracks) == answers

    await holds(reached, f"{answers} answers of {tag} are counted")


async def holds(condition: Callable[[], bool], what: str) -> None:
    async def found() -> bool:
        return condition()

    await eventually(found, what)


@pytest.mark.usefixtures("poisoned")
async def test_an_entry_that_the_fold_raises_at_is_put_aside_and_all_others_count_exactly() -> None:
    entries = [entry(result(id=prediction_id(START_MS, i)), START_MS + i, i) for i in range(40)]
    careful, without = state(), state()
    await aside.fold_carefully(careful, "results", entries)
    without.results.fold([one for one in entries if POISON.encode() != one[1][b"id"]])
    assert careful.results.aside.dump() == [{"failed": 1}, [[f"{START_MS + 13}-13", "failed"]]]
    found, expected = careful.results.dump(), without.results.dump()
    assert (found.pop("entries_read"), expected.pop("entries_read")) == (40, 39)
    del found["aside"], expected["aside"]
    assert orjson.dumps(found) == orjson.dumps(expected)


@pytest.mark.usefixtures("poisoned")
async def test_a_reader_goes_on_past_such_an_entry_and_says_which_it_was(
    redis: Redis, server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(redis, server, tmp_path) as monitor:
        await add(redis, BAD, 0, 40)
        await counted(monitor, BAD, 39)
        await add(redis, BAD, 100, 20)
        await counted(monitor, BAD, 59)
        await holds(lambda: monitor.health() == "ok", "it is well again")
        streams = monitor.report(BAD.model)["streams"]["results"]
        (put_aside,) = streams["put_aside"]
        ((_, fields),) = await redis.xrange(BAD.results, put_aside["entry"], put_aside["entry"])
        assert (fields[b"id"].decode(), put_aside["reason"]) == (POISON, "failed")
        line = b'observa_unreadable_entries_total{model="borrowed",reason="failed",stream="results"} 1.0'
        assert line in generate_latest(registry(monitor))
    assert "caller" not in caplog.text


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("emptied", [False, True])
async def test_a_reader_is_well_again_when_such_an_entry_is_deleted_meanwhile(
    redis: Redis, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emptied: bool
) -> None:
    monkeypatch.setattr("monitor.reading.FALLS_S", (0.5, 0.5))
    async with watching(redis, server, tmp_path) as monitor:
        await add(redis, BAD, 0, 5)
        await counted(monitor, BAD, 5)
        await add(redis, BAD, 13, 1)
        await holds(lambda: monitor.readers[BAD].trouble is not None, "it has fallen")
        if emptied:
            await redis.flushall()
            await redis.zadd(SERVED, {BAD.model: 1})
        else:
            ((last, _),) = await redis.xrevrange(BAD.results, count=1)
            await redis.xdel(BAD.results, last)
        await holds(lambda: monitor.health() == "ok", "it is well again")


async def test_a_model_whose_every_entry_raises_is_blind_and_the_others_are_watched(
    redis: Redis, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fold(self: Track, *_: Any) -> Any:
        raise ArithmeticError if self.profile.version == "1" else KeyError

    monkeypatch.setattr("monitor.reading.FALLS_S", (0.05, 0.1))
    async with watching(redis, server, tmp_path) as monitor:
        await add(redis, GOOD, 0, 5)
        await counted(monitor, GOOD, 5)
        monkeypatch.setattr(Track, "fold", fold)
        await add(redis, BAD, 0, 2 * aside.MOST)
        await holds(lambda: monitor.readers[BAD].failures.get("reader", 0) > 2, "its reader begins again and again")
        assert monitor.health() == "degraded"
        assert "ArithmeticError" in monitor.report(BAD.model)["monitor"]["trouble"][str(BAD)]
        before = monitor.report(BAD.model)["monitor"]["lag_seconds"]
        monkeypatch.undo()
        await add(redis, GOOD, 5, 5)
        await counted(monitor, GOOD, 10)
        await counted(monitor, BAD, 2 * aside.MOST)
        await holds(lambda: monitor.report(BAD.model)["monitor"]["lag_seconds"] < max(before, 1), "it is not blind")


async def test_a_damaged_snapshot_stops_one_model_until_it_is_deleted_and_the_reason_is_said(
    redis: Redis, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.reading.FALLS_S", (0.05, 0.1))
    await redis.hset(BAD.key("monitor"), mapping={"epoch": 1, "state": "{", "born": "x"})
    await add(redis, BAD, 0, 3)
    await add(redis, GOOD, 0, 3)
    async with watching(redis, server, tmp_path) as monitor:
        await counted(monitor, GOOD, 3)
        await holds(lambda: monitor.health() == "degraded", "one model is not followed")
        with TestClient(application(monitor, Comparisons(MonitorSettings()))) as client:
            assert client.get("/healthz").status_code == 200
            assert "snapshot is damaged" in client.get("/report/borrowed").json()["monitor"]["trouble"][str(BAD)]
        lag = b'observa_monitor_lag_seconds{model="borrowed"}'
        assert lag in generate_latest(registry(monitor))
        await redis.delete(BAD.key("monitor"))
        await counted(monitor, BAD, 3)


async def test_a_report_that_cannot_be_made_is_missing_and_the_others_are_there(
    redis: Redis, server: RedisServer, tmp_path: Path
) -> None:
    async with watching(redis, server, tmp_path) as monitor:
        await counted(monitor, BAD, 0)
        await counted(monitor, GOOD, 0)
        await holds(lambda: len(monitor.readers) == 2, "both are watched")
        monitor.readers[BAD].state.results.aside.counts = {"failed": None}  # type: ignore[dict-item]
        text = generate_latest(registry(monitor))
        assert b'observa_monitor_lag_seconds{model="sentiment"}' in text
        assert b'observa_monitor_lag_seconds{model="borrowed"}' not in text


class Hung:
    """A store that answers when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def manifest(self, *_: str) -> Any:
        self.go.wait(20)
        raise StoreError("gone")


async def test_a_store_that_hangs_holds_up_neither_the_loop_nor_for_long_the_reader(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("monitor.profiles.READ_S", 0.2)
    hung = Hung()
    profiles, longest = Profiles(tmp_path, Rules(), hung), 0.0  # type: ignore[arg-type]
    loading = asyncio.create_task(profiles.load(["7", "8"]))
    while not loading.done():
        began = time.monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - began)
    assert longest < 5  # it would be 20
    watched = State(Rules(), profiles)
    watched.results.fold([entry(result(version="7"), START_MS)])
    assert watched.results.tracks["7"].profile.digest == ""
    threads = threading.active_count()
    await asyncio.wait_for(profiles.load(["7"]), 5)  # it waits once
    assert threading.active_count() == threads
    hung.go.set()


async def test_a_reader_whose_versions_take_long_to_solve_does_not_look_as_if_it_hung(
    redis: Redis, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.reading.WATCH_S", 0.05)
    go = threading.Event()

    def slow(*arguments: Any) -> Any:
        go.wait(20)
        return build(*arguments)

    monkeypatch.setattr("monitor.profiles.build", slow)
    await add(redis, GOOD, 0, 3)
    async with watching(redis, server, tmp_path) as monitor:
        await holds(lambda: GOOD in monitor.readers, "it is followed")
        pulse = monitor.readers[GOOD].pulse
        before = pulse._beat_s
        await asyncio.sleep(0.2)
        await holds(lambda: pulse._beat_s > before + 0.2, "it goes on beating")
        assert not monitor.readers[GOOD].folded
        go.set()
        await counted(monitor, GOOD, 3)


async def test_a_version_that_comes_late_is_watched_from_then_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("monitor.profiles.MISSING_RETRY_S", 0.0)
    profiles = Profiles(tmp_path / "sentiment", Rules())
    await profiles.load(["1"])
    assert profiles("1").digest == ""
    store(tmp_path)

    async def known() -> bool:
        await profiles.load(["1"])
        return bool(profiles("1").digest)

    await eventually(known, "it is found")


async def test_a_reference_that_no_detector_can_be_built_of_is_counted_without_drift(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def raising(*_: Any) -> Any:
        raise ArithmeticError

    monkeypatch.setattr("monitor.profiles.build", raising)
    profiles = Profiles(store(tmp_path) / "sentiment", Rules())
    await profiles.load(["1"])
    assert (profiles("1").digest, profiles("1").labels) == ("", ("negative", "positive"))


def bare(version: str) -> Profile:
    return Profile(version, 0.8, unwatched=NO_REFERENCE)


def test_a_snapshot_written_while_the_store_was_away_is_read_when_it_is_back() -> None:
    before, away, back = state(), State(Rules(), bare), state()
    answers = [entry(result(id=prediction_id(START_MS, i)), START_MS + i, i) for i in range(30)]
    shadows = [entry(result(id=prediction_id(START_MS, i), role="shadow"), START_MS + i, i) for i in range(30, 40)]
    before.results.fold([*answers, *shadows])
    away.decode(before.encode())
    assert summarise("sentiment", [away])["versions"]["1"]["unwatched"] == NO_REFERENCE
    back.decode(away.encode())
    back.results.fold([entry(result(role=role), START_MS + 99, i) for i, role in enumerate(("live", "shadow"))])
    for kept, count in ((back.results.tracks, 31), (back.results.shadows, 11)):
        assert kept["1"].profile == profile_of("1")
        assert sum(kept["1"].totals.values()) == count


@pytest.mark.parametrize("again", [True, False], ids=["started anew", "known again"])
def test_windows_and_alarms_go_on_once_the_store_is_back(again: bool) -> None:
    known: dict[str, Profile] = {}
    before, away = state(), State(Rules(), lambda version: known.get(version, bare(version)))
    longer = draw(np.random.default_rng(1), 3000, longer=3.0)
    shadow = entry(result(role="shadow"), START_MS)
    fold_all(before, [shadow, *results_of(longer)])
    alarms = before.results.tracks["1"].watch.alarms.dump()
    assert alarms
    away.decode(before.encode())
    assert fold_all(away, [entry(result(), START_MS + 70_000), entry(result(role="shadow"), START_MS + 70_001)]) == []
    assert away.results.tracks["1"].watch.alarms.dump() == alarms
    back = state() if again else away
    if again:
        back.decode(away.encode())
    known["1"] = profile_of("1")
    more = [entry(result(), START_MS + 80_000), entry(result(role="shadow"), START_MS + 80_001)]
    assert fold_all(back, more) == []
    assert back.results.tracks["1"].watch.alarms.dump() == alarms
    found = summarise("sentiment", [back])
    (version,), (shadowed,) = found["versions"].values(), found["shadows"].values()
    assert (version["windows"]["24h"]["answered"], sum(version["totals"].values())) == (3001, 3002)
    assert (shadowed["windows"]["24h"]["answered"], sum(shadowed["totals"].values())) == (2, 3)
    assert back.results.tracks["1"].left is None


@pytest.mark.parametrize("labels", [("positive", "negative"), ("negative", "positive", "neutral")])
def test_other_labels_under_the_same_reference_begin_windows_anew(labels: tuple[str, ...]) -> None:
    manifest, made = reference()
    other = build(manifest.model_copy(update={"labels": labels}), made, Rules())
    before, after = state(), State(Rules(), lambda _: other)
    fold_all(before, results_of(draw(np.random.default_rng(1), 300)))
    after.decode(before.encode())
    fold_all(after, [entry(result(label="positive"), START_MS + 7000)])
    window = summarise("sentiment", [after])["versions"]["1"]["windows"]["1h"]
    counts = [int(label == "positive") for label in labels]
    assert (window["answered"], window["features"]["predicted_label"]["recent"]) == (1, counts)


def test_evidence_goes_on_against_the_target_of_a_version_whose_store_is_away() -> None:
    strict = replace(profile_of("1"), target=0.95)
    before, away = State(Rules(), lambda _: strict), State(Rules(), bare)
    fold_all(before, [], labels_of([True, True, True, True, True, True, False] * 7))
    away.decode(before.encode())
    assert away.feedback.judgements["1"].sequential.dump() == before.feedback.judgements["1"].sequential.dump()
    fold_all(away, [], labels_of([True], START_MS + 10_000))
    assert summarise("sentiment", [away])["versions"]["1"]["target_accuracy"] == 0.95


def test_labels_are_compared_with_the_calibration_of_a_version_that_comes_late() -> None:
    known: dict[str, Profile] = {}
    late = State(Rules(), lambda version: known.get(version, bare(version)))
    fold_all(late, [], labels_of([True] * 3))
    manifest, made = reference()
    knots = Calibration(confidence=(0.0, 1.0), accuracy=(0.2, 0.9))
    known["1"] = build(manifest, made.model_copy(update={"calibration": knots}), Rules())
    fold_all(late, [], labels_of([True] * 5, START_MS + 10_000))
    assert late.feedback.judgements["1"].all.estimated == 5


def test_a_version_is_watched_from_when_its_reference_is_known_wherever_in_a_batch_it_stands() -> None:
    known: dict[str, Profile] = {}
    watched = State(Rules(), lambda version: known.get(version, bare(version)))
    batch = [entry(result(version=version), START_MS + i) for i, version in enumerate(("2", "1", "2", "1"))]
    watched.results.fold(batch)
    known["1"] = profile_of("1")
    watched.results.fold(batch)
    track = watched.results.tracks["1"]
    assert track.profile == profile_of("1")
    assert (sum(track.totals.values()), track.window(WINDOWS["5m"], START_MS)[OK]) == (4, 2)


def test_a_snapshot_from_before_there_were_days_goes_on_with_the_days_of_its_hours() -> None:
    watched = state()
    watched.results.fold([entry(result(id=prediction_id(START_MS, i)), START_MS, i) for i in range(30)])
    watched.feedback.fold([entry(feedback(i > 5, id=prediction_id(START_MS, i)), START_MS, i) for i in range(20)])
    again = State(Rules(), profile_of)
    again.decode(orjson.dumps(as_version_4(watched)))
    assert again.encode() == watched.encode()


def test_counts_below_zero_that_an_older_monitor_left_begin_anew() -> None:
    watched = state()
    watched.feedback.fold([entry(feedback(id=prediction_id(START_MS, i)), START_MS, i) for i in range(3)])
    old = as_version_4(watched)
    ((_, judgement),) = old["feedback"]["judgements"]
    ((hour, _),) = judgement["hours"].items()
    judgement["hours"][hour][0]["negative"] = {"positive": -1}
    judgement["slices"]["slices"] = [["a=b", {hour: [1, 2]}], ["c=d", {hour: [2, -1]}]]
    again = State(Rules(), profile_of)
    again.decode(orjson.dumps(old))
    loaded = again.feedback.judgements["1"]
    assert loaded.all.count == 3
    assert loaded.panes.hours[int(hour)].count == 0
    assert [list(hours.values()) for hours in loaded.slices.slices.hours.values()] == [[[1, 1]], [[2, 0]]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"calibration": {"confidence": [0.1, 0.5, 0.9], "accuracy": [0.5, 0.9]}},
        {"calibration": {"confidence": [0.9, 0.5], "accuracy": [0.5, 0.9]}},
        {"calibration": {"confidence": [0.5], "accuracy": [1.5]}},
        {"labels": {"negative": -1}},
        {"labels": {"negative": 10**13}},
        {"features": {"words": {"edges": [1.0], "counts": [-5, 6]}}},
        {"features": {"words": {"edges": [float("nan")], "counts": [5, 6]}}},
    ],
)
def test_a_reference_that_says_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    _, known = reference()
    with pytest.raises(ValueError, match="validation error"):
        type(known).model_validate(known.model_dump() | wrong)


def test_a_sound_reference_with_a_calibration_is_taken() -> None:
    manifest, known = reference()
    knots = Calibration(confidence=(0.0, 0.5, 0.5, 1.0), accuracy=(0.2, 0.4, 0.5, 0.9))
    assert build(manifest, known.model_copy(update={"calibration": knots}), Rules()).calibration == knots


async def test_a_monitor_is_not_well_before_it_has_looked_for_models_and_read_their_logs_to_their_ends(
    redis: Redis, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more, step = asyncio.Event(), Reader._step

    async def stepping(self: Reader, clock: Clock) -> None:
        await step(self, clock)
        if self.catching_up:
            await more.wait()

    monkeypatch.setattr(Reader, "_step", stepping)
    await add(redis, GOOD, 0, 3)
    assert Monitor(redis, MonitorSettings(redis_url=server.url, models=tmp_path)).health() == "stale"
    async with watching(redis, server, tmp_path, monitor_read_count=2) as monitor:
        await counted(monitor, GOOD, 2)
        assert monitor.health() == "catching up"
        assert monitor.report(GOOD.model)["monitor"]["catching_up"]
        with TestClient(application(monitor, Comparisons(MonitorSettings()))) as client:
            answer = client.get("/healthz")
        assert (answer.status_code, answer.json()["status"]) == (200, "catching up")
        more.set()
        await holds(lambda: monitor.health() == "ok", "it is current")
        await counted(monitor, GOOD, 3)
        assert not monitor.report(GOOD.model)["monitor"]["catching_up"]
