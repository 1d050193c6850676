"""A replica takes over while the server before it is read on: the state is that of the log that is there now."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from broker.groups import ensure_groups
from broker.inspection import read_alerts
from broker.streams import Tag
from monitor.profiles import Profiles
from monitor.reading import Reader
from monitor.settings import MonitorSettings, Rules
from monitor.snapshot import OtherLogError, Snapshots
from monitor.track import Track
from tests.monitor.entries import fold_all, labels_of, on_wire, result, state
from tests.servers import RedisServer, eventually
from tests.takeover import Pair

TAG = Tag("sentiment")


@pytest.fixture
def own(servers: list[RedisServer]) -> MonitorSettings:
    return MonitorSettings(redis_url=servers[0].url, redis_password_file=None, monitor_snapshot_s=0.05)


@pytest.fixture
async def reader(pair: Pair, own: MonitorSettings, tmp_path: Path) -> AsyncIterator[Reader]:
    reader, stop = Reader(pair.client, own, TAG, Profiles(tmp_path, Rules()), "test"), asyncio.Event()
    task = asyncio.create_task(reader.run(stop))
    yield reader
    stop.set()
    await task


async def add(server: Redis, count: int, at_ms: int | None = None) -> None:
    """Add results; with *at_ms* under ids of that time."""
    for number in range(count):
        await server.xadd(TAG.results, on_wire(result().to_fields()), id=f"{at_ms}-{number + 1}" if at_ms else "*")  # type: ignore[arg-type]


def seen(reader: Reader) -> int:
    tracks = reader.state.results.tracks
    return sum(tracks["1"].totals.values()) if "1" in tracks else 0


async def counted(reader: Reader, count: int) -> None:
    async def reached() -> bool:
        return seen(reader) == count and not reader._unsaved

    await eventually(reached, f"{count} results are counted and saved")


async def stored(server: Redis) -> Any:
    return orjson.loads(await server.hget(TAG.key("monitor"), "state"))["results"]


async def test_what_the_new_server_took_while_the_old_one_was_read_on_is_counted(pair, reader):
    await add(pair.old, 10)
    await counted(reader, 10)
    await pair.take_over()
    await add(pair.new, 5)
    await add(pair.old, 1, at_ms=int(time.time() * 1000) + 1000)  # a stale write, later than all of the new server's
    await counted(reader, 11)
    await pair.point_at(pair.new)
    await add(pair.new, 1)
    await counted(reader, 16)
    assert reader.state.results.gap == 0
    assert (await stored(pair.new))["entries_read"] == await pair.new.xlen(TAG.results) == 16


async def test_what_no_replica_had_and_is_published_again_is_counted_once(pair, reader):
    await add(pair.old, 10)
    await counted(reader, 10)
    await pair.take_over()
    await add(pair.old, 3)
    await counted(reader, 13)
    await add(pair.new, 3)
    await pair.point_at(pair.new)

    async def reached() -> bool:
        return (await stored(pair.new))["entries_read"] == await pair.new.xlen(TAG.results) == 13

    await eventually(reached, "the new server's snapshot holds what its log holds")
    assert (seen(reader), reader.state.results.gap) == (13, 0)


async def test_entries_with_earlier_ids_than_those_that_were_lost_are_counted(pair, reader):
    await add(pair.old, 10)
    await counted(reader, 10)
    await pair.take_over()
    ahead_ms = int(time.time() * 1000) + 3_600_000  # the old server's clock was an hour ahead
    await add(pair.old, 1, at_ms=ahead_ms)
    await counted(reader, 11)
    await pair.point_at(pair.new)
    await add(pair.new, 4)
    await counted(reader, 14)


async def test_turns_between_the_two_servers_leave_what_is_on_the_one_in_the_end(pair, reader):
    await add(pair.old, 10)
    await counted(reader, 10)
    await pair.take_over()
    for turn in range(1, 4):
        await add(pair.new, 2)
        await add(pair.old, 3)
        await pair.point_at(pair.old)
        await counted(reader, 10 + 3 * turn)
        await pair.point_at(pair.new)
        await counted(reader, 10 + 2 * turn)
    assert reader.state.results.gap == 0


async def test_a_snapshot_of_one_server_is_never_written_to_the_other(pair):
    born = await ensure_groups(pair.client, TAG)
    snapshots = Snapshots(pair.client, TAG, "test")
    await snapshots.claim()
    await snapshots.write(state(), born, [])
    await pair.take_over()
    before = await pair.new.hgetall(TAG.key("monitor"))
    await pair.point_at(pair.new)
    changed = state()
    fold_all(changed, [], labels_of([False] * 60))
    with pytest.raises(OtherLogError):
        await snapshots.write(changed, born, [])
    assert await pair.new.hgetall(TAG.key("monitor")) == before
    assert (await snapshots.claim()).state == before[b"state"]


async def test_an_alarm_that_only_the_old_server_knew_of_is_raised_again_by_the_same_labels(pair, reader):
    await add(pair.old, 1)
    await counted(reader, 1)
    await pair.take_over()
    wrong = labels_of([False] * 100, int(time.time() * 1000) - 2000)
    for server in (pair.old, pair.new):
        for _, fields in wrong:
            await server.xadd(TAG.feedback, fields)  # type: ignore[arg-type]
        await pair.point_at(server)
        await eventually(lambda: _alarmed(server), "the alarm is on record")  # noqa: B023
    old, new = [await read_alerts(server, TAG) for server in (pair.old, pair.new)]
    assert [(one.detector, one.state) for one in old] == [(one.detector, one.state) for one in new]
    assert reader.state.alerts == len(new)


async def _alarmed(server: Redis) -> bool:
    return len(await read_alerts(server, TAG)) >= 2


async def test_a_server_that_forgot_its_last_second_is_counted_as_it_is(pair, reader, servers, tmp_path):
    """A loss of power: the file ends before what the monitor had read."""
    await add(pair.old, 10)
    await counted(reader, 10)
    await pair.old.execute_command("WAITAOF", 1, 0, 5000)
    files = {path: path.read_bytes() for path in (tmp_path / "old" / "appendonlydir").iterdir()}
    await add(pair.old, 5)
    await counted(reader, 15)
    servers[0].kill()
    for path, content in files.items():
        path.write_bytes(content)
    servers[0].start()
    await add(pair.old, 2)
    await counted(reader, 12)
    assert (reader.state.results.gap, reader.state.other_logs) == (0, 0)


async def test_the_monitor_that_started_last_stays_the_one_whose_server_changed(pair, reader, own, tmp_path):
    await add(pair.old, 1)
    await counted(reader, 1)
    await pair.take_over()
    later = Reader(pair.client, own, TAG, Profiles(tmp_path, Rules()), "later")
    await later._snapshots.claim()  # only the old server knows of it
    await pair.point_at(pair.new)
    held = reader._snapshots._epoch
    await add(pair.new, 1)
    await counted(reader, 2)
    assert reader._snapshots._epoch == held
    assert later._snapshots._epoch > held


async def test_a_fold_that_raises_at_what_the_new_server_holds_loses_nothing_else(pair, reader, monkeypatch):
    whole = Track.fold

    def fold(self: Track, rows: Any, values: Any, chosen: Any) -> Any:
        told = whole(self, rows, values, chosen)
        if any("poison" in rows.ids[at] for at in chosen):
            raise ArithmeticError
        return told

    monkeypatch.setattr(Track, "fold", fold)
    await add(pair.old, 10)
    await counted(reader, 10)
    await pair.take_over()
    await add(pair.old, 3)
    await add(pair.new, 2)
    await pair.new.xadd(TAG.results, on_wire(result(id="poison").to_fields()))
    await add(pair.new, 2)
    await pair.point_at(pair.new)
    await counted(reader, 14)

    async def well() -> bool:
        return reader.fresh

    await eventually(well, "it is well again")
    stored_now = await stored(pair.new)
    assert (stored_now["entries_read"], stored_now["aside"][0]) == (15, {"failed": 1})
    assert (reader.state.results.gap, reader.state.other_logs) == (0, 0)
