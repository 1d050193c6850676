"""Small files of an hour that is over become one, and hours whose time is over are deleted."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
from redis.asyncio import Redis
from redis.exceptions import RedisError

from archive.metrics import DROPPED, FAILURES, JOINED
from archive.settings import ArchiveSettings
from broker.archived import HOUR_MS, Part, order
from broker.archived_rows import KINDS, SCHEMAS, completed
from broker.archiving import ArchiveWriter
from broker.errors import LeaseTakenError
from broker.leases import FILES_LEASE, Lease, held
from broker.streams import Tag, entry_time_ms

EVERY_S: Final = 60
LARGEST: Final = 32 << 20  # bytes of files that are joined at once
STILL_MS: Final = 10 * 60_000  # an hour is over for a stream without entries
DAY_MS: Final = 24 * HOUR_MS

log = logging.getLogger(__name__)


class Upkeep:
    """The upkeep of one model's one shard."""

    def __init__(self, redis: Redis, settings: ArchiveSettings, tag: Tag, archive: ArchiveWriter) -> None:
        self._redis = redis
        self._settings = settings
        self._tag = tag
        self._archive = archive
        self._done: set[tuple[str, int]] = set()  # kind and hour of which nothing more comes

    async def round(self, positions: dict[str, str]) -> None:
        """Join and delete once; *positions* is the last archived entry id of each kind."""
        try:
            seconds, _ = await self._redis.time()
            for kind in KINDS:
                await self._drop(kind, int(seconds) * 1000)
                await self._join(kind, int(seconds) * 1000, entry_time_ms(positions[kind]))
        except LeaseTakenError:
            return  # next time
        except (RedisError, OSError, pa.ArrowException) as error:
            FAILURES.labels(self._tag.model, "upkeep").inc()
            log.warning("upkeep of %s failed: %s", self._tag, type(error).__name__)

    async def _drop(self, kind: str, now_ms: int) -> None:
        oldest_ms = now_ms - self._settings.archive_days * DAY_MS
        gone = await asyncio.to_thread(self._archive.drop_before, self._tag.model, kind, oldest_ms)
        DROPPED.labels(self._tag.model).inc(gone)

    async def _join(self, kind: str, now_ms: int, read_ms: int) -> None:
        for hour_ms in await asyncio.to_thread(self._archive.hours, self._tag.model, kind):
            end_ms = hour_ms + HOUR_MS
            if (kind, hour_ms) in self._done or not (read_ms >= end_ms or now_ms >= end_ms + STILL_MS):
                continue
            async with held(self._redis, self._tag.lease(FILES_LEASE), wait_s=1) as lease:
                joined = await asyncio.to_thread(join_hour, self._archive, self._tag, kind, hour_ms, lease)
            JOINED.labels(self._tag.model).inc(joined)
            if read_ms >= end_ms:
                self._done.add((kind, hour_ms))


def join_hour(archive: ArchiveWriter, tag: Tag, kind: str, hour_ms: int, lease: Lease) -> int:
    """Make few files of the many of one hour, as long as *lease* holds; return how many were joined.

    The joined file appears before its parts go: a reader that looks at both takes the rows of the wider one, and what a
    kill leaves behind is removed by the next round.
    """
    parts = archive.parts_of_hour(tag, kind, hour_ms)
    inside = [part for part in parts if any(other != part and other.holds(part) for other in parts)]
    for part in inside:
        archive.remove(part)
    joined = 0
    for run in _runs(archive, [part for part in parts if part not in inside]):
        batches = [batch for part in run for batch in archive.batches(part, whole=True)]
        if any(set(batch.schema.names) - set(SCHEMAS[kind].names) for batch in batches):
            continue  # a newer archiver wrote columns that would be lost
        whole = Part(tag, kind, run[0].mark, run[0].first, run[-1].last, hour_ms)
        table = pa.Table.from_batches([completed(kind, batch) for batch in batches], SCHEMAS[kind])
        if not archive.write(whole, table, only_if=lease.holds):
            break
        for part in run:
            archive.remove(part)
        joined += len(run)
    return joined


def _runs(archive: ArchiveWriter, parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Yield neighbours of the same log that make no file of more than the largest size together."""
    run: list[Part] = []
    total = 0
    for part in sorted(parts, key=lambda part: (part.mark, order(part.first))):
        size = archive.size(part)
        if run and (part.mark != run[0].mark or total + size > LARGEST):
            if len(run) > 1:
                yield run
            run, total = [], 0
        run.append(part)
        total += size
    if len(run) > 1:
        yield run
