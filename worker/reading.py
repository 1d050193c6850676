"""Reading new requests of one tag: as many as there is room for, again and again, whatever happens to the server."""

import asyncio
import time
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from broker.backoff import Backoff
from broker.connection import BLOCK_MS
from broker.groups import ensure_groups
from broker.streams import WORKERS
from broker.wire import Line
from worker.serving import Entries, Serving
from worker.trouble import PASSING, Trouble


class Reader:
    """The read loop of one tag. A lost group, an empty or a read-only server end a round, never the loop."""

    def __init__(self, redis: Redis, serving: Serving, stopping: asyncio.Event) -> None:
        self.serving = serving
        self.last_read_at: float | None = None  # time.monotonic() of the last answer, empty ones included
        self._redis = redis
        self._line = Line(redis, blocks=True)
        self._stopping = stopping
        self._trouble = Trouble("reading", serving.tag.model)
        self._began = False

    async def run(self) -> None:
        """Read, work and settle until told to stop; what was read is finished.

        One batch is settled while the next is read and inferred, no more: if Redis does not take it, reading waits.
        """
        settling: asyncio.Task[list[bool]] | None = None
        async for entries in self._batches():
            settlements = await self.serving.work(entries) if entries else []
            if settling and (settlements or settling.done()):
                await settling  # also where nothing comes after it: its failure is ours
                settling = None
            if settlements:
                settling = asyncio.create_task(self.serving.settle(settlements))
        if settling:
            await settling

    async def _batches(self) -> AsyncIterator[Entries]:
        backoff, ready = Backoff(), False
        while not self._stopping.is_set():
            self.serving.pulse.beat()
            try:
                if not ready:
                    await self._begin()
                entries = await self._read()
            except PASSING as error:
                ready = False
                self._trouble.met(error)
                await backoff.wait()
                continue
            ready = True
            backoff.reset()
            self._trouble.over()
            self.last_read_at = time.monotonic()
            yield entries

    async def _begin(self) -> None:
        await ensure_groups(self._redis, self.serving.tag)
        if self._began:
            self.serving.doubt()
        self._began = True

    async def _read(self) -> Entries:
        group = "GROUP", WORKERS, self.serving.means.worker
        most = "COUNT", self.serving.speed.batch, "BLOCK", BLOCK_MS
        answer = await self._line("XREADGROUP", *group, *most, "STREAMS", self.serving.tag.requests, ">")
        return [
            (entry_id.decode(), dict(zip(flat[::2], flat[1::2], strict=True)))
            for _, entries in answer or ()
            for entry_id, flat in entries
        ]
