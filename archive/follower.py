"""Follows the three streams of one model's one shard: reads, gathers, writes."""

import asyncio
import errno
import logging
import time
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from archive.metrics import BEHIND, BLOCKED, BYTES, FAILURES, FILES, HELD, LAG, OTHER_LOGS, ROWS
from archive.pending import Memory, Pending
from archive.positions import MovedError, Position
from archive.settings import ArchiveSettings
from broker.archived_rows import KINDS
from broker.archiving import ArchiveWriter
from broker.backoff import Backoff
from broker.connection import Clock
from broker.duties import Pulse
from broker.errors import LeaseTakenError, ObservaError, WrongKeyTypeError
from broker.groups import ensure_groups, groups_of
from broker.history import ASK, telling_history
from broker.leases import FILES_LEASE, LEASE_S, Lease, held
from broker.scripts import REPLICA_MS
from broker.streams import ARCHIVE, Tag

BLOCK_MS: Final = 500
STILL_S: Final = 600.0  # for one file, besides the time of one call to the storage: it may go far and slowly
LOOK_S: Final = 2.0  # between two looks at how long the streams are

log = logging.getLogger(__name__)


class Follower:
    """One shard. What it holds is bounded; what it has not written is still in the log."""

    def __init__(
        self, redis: Redis, settings: ArchiveSettings, tag: Tag, archive: ArchiveWriter, memory: Memory
    ) -> None:
        self.tag = tag
        self.pulse = Pulse(STILL_S + settings.store_timeout_s)
        self.trouble = ""  # why it does not go on
        self.read_s = time.monotonic()  # of the last answer from Redis
        self.positions = {kind: Position(redis, archive, tag, kind) for kind in KINDS}
        self._redis = redis
        self._telling = telling_history(redis)
        self._settings = settings
        self._memory = memory
        self._clock = Clock()
        self._pending = {kind: Pending(tag, kind, memory) for kind in KINDS}
        self._behind = dict.fromkeys(KINDS, 0)  # entries that were on the log when last looked, and not read since
        self._looked_s = 0.0
        self._born: str | None = None
        self._history = ""  # that what is held was read under

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until *stop*, then write what is held."""
        backoff = Backoff(most_s=10)
        while not stop.is_set():
            if await self._tried(self._step):
                backoff.reset()
            else:
                await backoff.wait()
        if self._born is not None:
            await self._tried(self._flush)

    async def _tried(self, step: Any) -> bool:
        """Do *step*; what Redis and the storage may do wrong is counted, said once, and tried again later."""
        model = self.tag.model
        self.pulse.beat()
        try:
            await self._whichever_log(step)
        except LeaseTakenError:
            return False  # for a moment
        except (RedisError, OSError, WrongKeyTypeError) as error:
            reason = _reason(error)
            FAILURES.labels(model, reason).inc()
            BLOCKED.labels(model).set(reason in {"disk_full", "storage"})
            if self.trouble != reason:
                log.warning("%s waits: %s", self.tag, error if isinstance(error, ObservaError) else reason)
            self.trouble = reason
            return False
        if self.trouble:
            log.info("%s goes on", self.tag)
        self.trouble = ""
        BLOCKED.labels(model).set(0)
        return True

    async def _whichever_log(self, step: Any) -> None:
        """Do *step*; where the place has moved, begin again at the end of the files, or with the log that is there."""
        try:
            await step()
        except MovedError:
            if await self._redis.get(self.tag.born) == (self._born or "").encode():
                self._forget_read()
            else:
                await self._other_log()

    async def _step(self) -> None:
        if self._born is not None and time.monotonic() - self._looked_s > LOOK_S:
            await self._look()
        if self.trouble in {"disk_full", "storage", "redis"} and any(self._pending.values()):
            await self._flush()  # nothing more is read until this can be written
        if self._born is None:
            await self._begin()
        flush = await self._read()
        oldest_s = max(pending.age_s for pending in self._pending.values())
        if flush or self._memory.full or oldest_s >= self._settings.archive_flush_s:
            await self._flush()

    async def _begin(self) -> None:
        born = await ensure_groups(self._redis, self.tag)
        pipeline = self._telling.pipeline(transaction=False)
        pipeline.get(self.tag.born)  # says whose history is meant where there are several servers
        pipeline.execute_command(*ASK)
        _, self._history = await pipeline.execute()
        async with held(self._redis, self.tag.lease(FILES_LEASE), wait_s=1) as lease:
            for position in self.positions.values():
                await position.find(born, lease)
        self._born = born
        where = {kind: position.last for kind, position in self.positions.items()}
        log.info("archiving %s", self.tag, extra={"after": where})

    async def _read(self) -> bool:
        """Read what is there; return whether somebody wants it written now.

        The log's mark and the server's history are read after the entries, in the same round trip, so the entries are
        of the log that is known.
        """
        after: Any = {
            position.stream: self._pending[kind].last or position.last for kind, position in self.positions.items()
        }
        pipeline = self._telling.pipeline(transaction=False)
        pipeline.xread(after, count=self._settings.archive_read_count, block=BLOCK_MS)
        pipeline.get(self.tag.born)
        pipeline.exists(self.tag.flush)
        pipeline.execute_command(*ASK)
        found, born, flush, history = await pipeline.execute()
        if born is None or born.decode() != self._born:
            await self._other_log()
            return False
        if history != self._history:
            raise MovedError
        self.read_s = time.monotonic()
        for name, entries in found or ():
            kind = name.decode().rpartition(":")[2]
            rows = [(entry_id.decode(), fields) for entry_id, fields in entries]
            await asyncio.to_thread(self._pending[kind].add, rows)
            self._behind[kind] = max(0, self._behind[kind] - len(rows))
        self._measure()
        return bool(flush)

    async def _flush(self) -> None:
        born = self._born or ""
        if not any(self._pending.values()):
            return
        async with held(self._redis, self.tag.lease(FILES_LEASE), wait_s=1) as lease:
            await self._make_sure(lease)
            for kind, pending in self._pending.items():
                for chunk in list(pending.chunks):
                    self.pulse.beat()
                    part, size = await self.positions[kind].write(born, chunk, lease)
                    pending.written(chunk)
                    self._count(part.kind, len(chunk.ids), size)
        self._measure()

    async def _make_sure(self, lease: Lease) -> None:
        """See that what is held is of the server that is there now, and on a replica where one is asked for.

        Raises:
            MovedError: it was read of another, or of one that has lost its end since.
            RedisError: no replica has it, under OBSERVA_DURABILITY=replica.

        """
        pipeline = self._telling.pipeline(transaction=False)
        pipeline.pexpire(lease.key, int(LEASE_S * 1000))  # WAIT is about what was written before, on its connection
        if insist := self._settings.durability == "replica":
            pipeline.wait(1, REPLICA_MS)
        pipeline.execute_command(*ASK)
        kept, *replicas, history = await pipeline.execute()
        if not kept or history != self._history:
            raise MovedError
        if insist and not replicas[0]:
            raise RedisError("no replica has what was read")

    async def _other_log(self) -> None:
        """Write what was read of the log that is gone, count what was not, and begin with the one that is there."""
        log.warning("%s has become another log: going on from its start", self.tag)
        born = await ensure_groups(self._redis, self.tag)
        async with held(self._redis, self.tag.lease(FILES_LEASE), wait_s=1) as lease:
            for kind, pending in self._pending.items():
                for chunk in list(pending.chunks):
                    await self._save_of_lost(kind, pending, chunk, lease)
        OTHER_LOGS.labels(self.tag.model).inc()
        for kind, behind in self._behind.items():
            if behind:
                await self._redis.hincrby(self.tag.gaps, f"{kind}/archive", behind)
            self._behind[kind] = 0
        log.info("%s begins anew", self.tag, extra={"born": born})
        self._forget_read()

    async def _save_of_lost(self, kind: str, pending: Pending, chunk: Any, lease: Lease) -> None:
        try:
            _, size = await asyncio.to_thread(self.positions[kind].publish, self._born or "", chunk, lease)
        except MovedError:  # another archiver was faster
            size = 0
        pending.written(chunk)
        if size:
            self._count(kind, len(chunk.ids), size)

    def _forget_read(self) -> None:
        """Begin again where the files end; what was read and not written is still in the log."""
        for pending in self._pending.values():
            pending.clear()
        self._born = None

    async def _look(self) -> None:
        """Remember how many entries there are that have not been read, in case the log gets lost."""
        await self._clock.sync(self._redis)
        for kind, position in self.positions.items():
            for group in await groups_of(self._redis, position.stream):
                if group["name"] == ARCHIVE.encode() and group["lag"] is not None:
                    self._behind[kind] = max(0, group["lag"] - self._pending[kind].rows)
            BEHIND.labels(self.tag.model, kind).set(self._behind[kind])
        self._looked_s = time.monotonic()

    def _count(self, kind: str, rows: int, size: int) -> None:
        ROWS.labels(self.tag.model, kind).inc(rows)
        FILES.labels(self.tag.model, kind).inc()
        BYTES.labels(self.tag.model, kind).inc(size)

    def _measure(self) -> None:
        oldest = [ms for pending in self._pending.values() if (ms := pending.oldest_ms) is not None]
        LAG.labels(self.tag.model).set(max(0.0, (self._clock.now_ms() - min(oldest)) / 1000) if oldest else 0)
        HELD.set(self._memory.held)


def _reason(error: Exception) -> str:
    match error:
        case WrongKeyTypeError():
            return "key"
        case RedisError():
            return "redis"
        case OSError() if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return "disk_full"
        case _:
            return "storage"
