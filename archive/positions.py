"""Where the archive stands in one stream: what its files say, shown to Redis as the place of the group ``archive``."""

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from archive.pending import Chunk
from broker.archived import START, Part, mark_of, order
from broker.archiving import ArchiveWriter
from broker.groups import groups_of
from broker.leases import Lease
from broker.scripts import Scripts
from broker.streams import ARCHIVE, Tag


class MovedError(Exception):
    """Another archiver went on meanwhile, or it is another log: begin again where the files end."""


class Position:
    """One stream's place in the archive.

    The files are the truth: what they hold is never written again. The group follows them, so that the janitor and
    whoever looks at lags know.
    """

    def __init__(self, redis: Redis, archive: ArchiveWriter, tag: Tag, kind: str) -> None:
        self.kind = kind
        self.last = START  # everything up to here is in files
        self._redis = redis
        self._archive = archive
        self._tag = tag
        self._scripts = Scripts(redis)

    @property
    def stream(self) -> str:
        """The stream's key."""
        return self._tag.key(self.kind)

    async def find(self, born: str, lease: Lease) -> None:
        """Make the group where it is missing, and move it to where the files of this log end.

        Raises:
            MovedError: it changed meanwhile.

        """
        try:
            await self._redis.xgroup_create(self.stream, ARCHIVE, id=START, mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        at = await self._group_at()
        ahead = await asyncio.to_thread(self._beyond, mark_of(born), at)
        if ahead:
            rows = await asyncio.to_thread(lambda: sum(self._archive.rows(part) for part in ahead))
            last = max((part.last for part in ahead), key=order)
            await self._move(lease, born, at, last, rows)
            at = last
        self.last = at

    async def write(self, born: str, chunk: Chunk, lease: Lease) -> tuple[Part, int]:
        """Write the next entries as a file and move the group over them; return the file and its size.

        Raises:
            MovedError: somebody else has written them, or may be about to; nothing was.
            OSError: the file cannot be written.

        """
        if await self._group_at() != self.last:
            raise MovedError
        part, size = await asyncio.to_thread(self.publish, born, chunk, lease)
        await self._move(lease, born, self.last, part.last, len(chunk.ids))
        self.last = part.last
        return part, size

    def publish(self, born: str, chunk: Chunk, lease: Lease) -> tuple[Part, int]:
        """Write *chunk* as a file, unless one has its entries; the group is not moved.

        Raises:
            MovedError: somebody else has written them, or may be about to; nothing was.
            OSError: the file cannot be written.

        """
        part = Part.of(self._tag, self.kind, mark_of(born), chunk.ids)
        there = self._archive.parts_of_hour(self._tag, self.kind, part.hour_ms)
        if any(found.mark == part.mark and order(found.last) >= order(part.first) for found in there):
            raise MovedError
        size = self._archive.write(part, chunk.table(self.kind), only_if=lease.holds)
        if not size:
            raise MovedError
        return part, size

    def _beyond(self, mark: str, at: str) -> list[Part]:
        parts = self._archive.parts(self._tag, self.kind, since_ms=order(at)[0])
        return [part for part in parts if part.mark == mark and order(part.last) > order(at)]

    async def _group_at(self) -> str:
        for group in await groups_of(self._redis, self.stream):
            if group["name"] == ARCHIVE.encode():
                return str(group["last-delivered-id"].decode())
        raise MovedError

    async def _move(self, lease: Lease, born: str, at: str, to: str, entries: int) -> None:
        keys = [lease.key, self._tag.born, self.stream]
        outcome: Any = await self._scripts("archived", keys, [lease.token, born, ARCHIVE, at, to, entries])
        if outcome != b"ok":
            raise MovedError
