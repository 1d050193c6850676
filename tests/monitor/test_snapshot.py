import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from broker.connection import connect
from broker.errors import WrongKeyTypeError
from broker.groups import ensure_groups
from broker.inspection import group_states, read_alerts
from broker.settings import BrokerSettings
from broker.streams import Tag
from monitor.profiles import Profiles
from monitor.reading import Reader
from monitor.settings import MonitorSettings, Rules
from monitor.snapshot import FencedError, OtherLogError, Snapshots
from tests.monitor.entries import feedback, fold_all, labels_of, on_wire, prediction_id, result, state
from tests.servers import RedisServer, eventually

TAG = Tag("sentiment")


async def add(redis: Redis, stream: str, count: int, correct: bool = True) -> None:
    event = result() if stream == TAG.results else feedback(correct, id=prediction_id(int(time.time() * 1000)))
    pipeline = redis.pipeline(transaction=False)
    for _ in range(count):
        pipeline.xadd(stream, on_wire(event.to_fields()))  # type: ignore[arg-type]
    await pipeline.execute()


@pytest.fixture
def reader(redis: Redis, settings: BrokerSettings, tmp_path: Path) -> Reader:
    own = MonitorSettings(redis_url=settings.redis_url, redis_password_file=None, monitor_snapshot_s=0.05)
    return Reader(redis, own, TAG, Profiles(tmp_path, Rules()), "test")


@pytest.fixture
async def following(reader: Reader) -> AsyncIterator[Reader]:
    stop = asyncio.Event()
    task = asyncio.create_task(reader.run(stop))
    yield reader
    stop.set()
    await task


async def counted(reader: Reader, results: int, labels: int = 0) -> None:
    async def reached() -> bool:
        track = reader.state.results.tracks["1"].totals if "1" in reader.state.results.tracks else {}
        joined = reader.state.feedback.outcomes.get("joined", 0)
        return sum(track.values()) == results and joined == labels and not reader._unsaved

    await eventually(reached, f"{results} results and {labels} labels are counted and saved")


async def test_a_monitor_started_later_shuts_the_earlier_one_out(redis: Redis) -> None:
    born = await ensure_groups(redis, TAG)
    first, second = Snapshots(redis, TAG, "first"), Snapshots(redis, TAG, "second")
    await first.claim()
    await first.write(state(), born, [])
    await second.claim()
    with pytest.raises(FencedError, match="second"):
        await first.write(state(), born, [])


async def test_a_monitor_started_later_wins_even_after_the_server_came_back_empty(redis: Redis) -> None:
    first, second = Snapshots(redis, TAG, "first"), Snapshots(redis, TAG, "second")
    await first.claim()
    await second.claim()
    await redis.flushall()
    born = await ensure_groups(redis, TAG)
    await first.write(state(), born, [])
    await second.write(state(), born, [])
    with pytest.raises(FencedError):
        await first.write(state(), born, [])


async def test_a_monitor_that_starts_on_a_server_that_came_back_empty_shuts_the_earlier_one_out(redis: Redis) -> None:
    first, second = Snapshots(redis, TAG, "first"), Snapshots(redis, TAG, "second")
    claimed = await first.claim()
    await redis.flushall()

    async def later() -> bool:
        seconds, microseconds = await redis.time()
        return bool(seconds * 1000 + microseconds // 1000 > claimed.epoch)

    await eventually(later, "the server's clock has moved on")
    await second.claim()
    with pytest.raises(FencedError, match="second"):
        await first.write(state(), await ensure_groups(redis, TAG), [])


async def test_an_alert_is_written_once_although_the_reply_of_its_snapshot_was_lost(redis: Redis) -> None:
    born = await ensure_groups(redis, TAG)
    snapshots, watched = Snapshots(redis, TAG, "test"), state()
    await snapshots.claim()
    alerts = fold_all(watched, [], labels_of([False] * 60))
    await snapshots.write(watched, born, alerts)
    more = fold_all(watched, [], labels_of([True] * 300, 1_790_000_100_000))
    await snapshots.write(watched, born, alerts + more)  # as if the first had seemed to fail
    written = await read_alerts(redis, TAG)
    assert [(a.alert_id, a.state) for a in reversed(written)] == [(a.alert_id, a.state) for a in alerts + more]
    assert [a.state for a in reversed(written)] == ["firing", "firing", "resolved", "resolved"]
    assert written[-1].evidence["sample_ids"]


async def test_nothing_is_written_to_another_log(redis: Redis) -> None:
    await ensure_groups(redis, TAG)
    snapshots = Snapshots(redis, TAG, "test")
    await snapshots.claim()
    with pytest.raises(OtherLogError):
        await snapshots.write(state(), "another", [])
    assert await redis.hget(TAG.key("monitor"), "state") is None


async def test_a_key_of_another_type_is_named_and_nothing_is_written(redis: Redis) -> None:
    born = await ensure_groups(redis, TAG)
    snapshots = Snapshots(redis, TAG, "test")
    await snapshots.claim()
    await redis.set(TAG.alerts, "mine")
    with pytest.raises(WrongKeyTypeError, match="alerts"):
        await snapshots.write(state(), born, [])
    assert await redis.hget(TAG.key("monitor"), "state") is None


async def test_the_position_is_visible_as_the_lag_of_a_group(redis: Redis, following: Reader) -> None:
    await add(redis, TAG.results, 100)
    await counted(following, 100)
    states = {(s.stream, s.group): s for s in await group_states(redis, TAG)}
    assert states["results", "monitor"].lag == 0
    assert states["feedback", "monitor"].lag == 0
    assert states["results", "monitor"].pending == 0


async def test_the_lag_is_right_in_the_middle_of_the_stream(redis: Redis) -> None:
    born = await ensure_groups(redis, TAG)
    await add(redis, TAG.results, 100)
    snapshots, watched = Snapshots(redis, TAG, "test"), state()
    await snapshots.claim()
    entries: Any = await redis.xrange(TAG.results, count=40)
    watched.results.fold(entries)
    await snapshots.write(watched, born, [])
    lags = {s.stream: s.lag for s in await group_states(redis, TAG) if s.group == "monitor"}
    assert lags == {"results": 60, "feedback": 0}


async def test_entries_trimmed_before_they_were_read_are_counted_exactly(redis: Redis) -> None:
    born = await ensure_groups(redis, TAG)
    snapshots, watched = Snapshots(redis, TAG, "test"), state()
    await snapshots.claim()
    await add(redis, TAG.results, 100)
    entries: Any = await redis.xrange(TAG.results)
    watched.results.fold(entries[:30])
    await redis.xtrim(TAG.results, minid=entries[50][0], approximate=False)
    await snapshots.write(watched, born, [])
    assert watched.results.gap == 20
    watched.results.fold(entries[50:])
    await snapshots.write(watched, born, [])
    assert (watched.results.gap, watched.results.entries_read) == (20, 100)


async def test_what_was_trimmed_before_the_first_monitor_started_is_no_gap(redis: Redis, reader: Reader) -> None:
    await add(redis, TAG.results, 100)
    await redis.xtrim(TAG.results, maxlen=40, approximate=False)
    stop = asyncio.Event()
    task = asyncio.create_task(reader.run(stop))
    await counted(reader, 40)
    assert (reader.state.results.gap, reader.state.results.entries_read) == (0, 100)
    stop.set()
    await task


async def test_another_log_is_read_from_its_start_and_counts_as_a_gap(redis: Redis, following: Reader) -> None:
    await add(redis, TAG.results, 70)
    await add(redis, TAG.feedback, 7)
    await counted(following, 70, 7)
    await redis.flushall()
    await add(redis, TAG.results, 30)
    await counted(following, 100, 7)
    assert following.state.other_logs == 1
    assert following.state.results.gap == 1
    snapshot: Any = await redis.hget(TAG.key("monitor"), "state")
    stored = orjson.loads(snapshot)
    assert stored["results"]["entries_read"] == 30


async def test_a_reader_goes_on_where_the_last_one_stopped(redis: Redis, reader: Reader) -> None:
    for total in (50, 80):
        await add(redis, TAG.results, total - (0 if total == 50 else 50))
        fresh = Reader(redis, reader._settings, TAG, reader._profiles, "next")
        stop = asyncio.Event()
        task = asyncio.create_task(fresh.run(stop))
        await counted(fresh, total)
        stop.set()
        await task


async def test_a_server_that_is_killed_and_comes_back_costs_no_entry(own_server: RedisServer, tmp_path: Path) -> None:
    own = MonitorSettings(redis_url=own_server.url, redis_password_file=None, monitor_snapshot_s=0.05)
    redis = connect(own, "test")
    reader = Reader(redis, own, TAG, Profiles(tmp_path, Rules()), "test")
    stop = asyncio.Event()
    task = asyncio.create_task(reader.run(stop))
    await add(redis, TAG.results, 50)
    await counted(reader, 50)
    await asyncio.sleep(1.2)  # appendfsync everysec: what follows is about the monitor, not about the file
    own_server.kill()
    own_server.start()
    async with connect(own, "again") as again:
        await add(again, TAG.results, 20)
        await counted(reader, 70)
        await again.connection_pool.disconnect()
    assert (reader.state.results.gap, reader.state.other_logs) == (0, 0)
    stop.set()
    await task
    await redis.aclose()
    await redis.connection_pool.disconnect()
