"""A replica takes over while the server before it is read on: the files hold what the log that is there now holds."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis import Redis as SyncRedis
from redis.asyncio import Redis

from archive.follower import Follower
from archive.pending import Memory
from archive.settings import ArchiveSettings
from broker.archiving import ArchiveWriter
from tests.archive.streams import KINDS, TAG, add, archived, logged
from tests.servers import eventually
from tests.takeover import Pair


@asynccontextmanager
async def following(pair: Pair, folder: Path, **changes: Any) -> AsyncIterator[tuple[Follower, ArchiveWriter]]:
    settings = ArchiveSettings(redis_password_file=None, archive=str(folder), archive_flush_s=600, **changes)
    archive = ArchiveWriter(str(folder))
    archive.prepare()
    follower, stop = Follower(pair.client, settings, TAG, archive, Memory(1 << 25)), asyncio.Event()
    task = asyncio.create_task(follower.run(stop))
    yield follower, archive
    stop.set()
    await task


def blocking(server: Redis) -> SyncRedis:
    return SyncRedis(port=server.connection_pool.connection_kwargs["port"], protocol=2)


async def held(follower: Follower, rows: int) -> None:
    async def reached() -> bool:
        return [pending.rows for pending in follower._pending.values()] == [rows] * 3

    await eventually(reached, f"{rows} rows of each stream are held")


async def flushed(follower: Follower, server: Redis) -> None:
    await server.set(TAG.flush, 1, px=2000)

    async def reached() -> bool:
        groups = [group for kind in KINDS for group in await server.xinfo_groups(TAG.key(kind))]
        return {group["lag"] for group in groups if group["name"] == b"archive"} == {0} and not any(
            follower._pending.values()
        )

    await eventually(reached, "everything on the log is in files")


async def test_what_was_read_of_a_server_that_is_another_ones_past_is_left_out(pair, tmp_path):
    with blocking(pair.old) as old, blocking(pair.new) as new:
        async with following(pair, tmp_path / "archive") as (follower, archive):
            add(old, 10)
            await held(follower, 10)
            await pair.take_over()
            add(new, 5, seed=2)
            add(old, 3, seed=3)
            for kind in KINDS:  # later than all that the new server has
                old.xadd(TAG.key(kind), {"stale": 1}, id=f"{int(time.time() * 1000) + 1000}-1")
            await held(follower, 14)
            await pair.point_at(pair.new)
            add(new, 2, seed=4)
            await held(follower, 17)
            await flushed(follower, pair.new)
        for kind in KINDS:
            assert archived(archive, kind) == logged(new, kind)


async def test_no_file_is_written_of_what_no_replica_has_where_one_is_asked_for(pair, tmp_path):
    with blocking(pair.old) as old, blocking(pair.new) as new:
        async with following(pair, tmp_path / "archive", durability="replica") as (follower, archive):
            add(old, 10)
            await held(follower, 10)
            await pair.take_over()
            add(new, 5, seed=2)
            add(old, 3, seed=3)
            await held(follower, 13)
            old.set(TAG.flush, 1, px=2000)
            await eventually(lambda: _waits(follower), "it waits for a replica")
            assert archived(archive, "results") == []
            await pair.give_way()
            await pair.point_at(pair.new)
            await flushed(follower, pair.new)
        for kind in KINDS:
            assert archived(archive, kind) == logged(new, kind)


async def _waits(follower: Follower) -> bool:
    return follower.trouble == "redis"
