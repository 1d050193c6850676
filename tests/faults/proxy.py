"""A TCP proxy between a service and Redis that can delay, hold, cut and lose replies."""

import asyncio
import random
from contextlib import suppress
from types import TracebackType
from typing import Self

CHUNK = 1 << 16


class Proxy:
    """Listens on a port of its own; `url` is what a service is given in place of the server's."""

    def __init__(self, port: int, seed: int) -> None:
        self.delay_s = 0.0  # of every reply
        self.lose = 0.0  # share of replies that are dropped; the connection is closed, as a broken network would
        self.lost = 0
        self.passed = 0
        self._to = port
        self._random = random.Random(seed)
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self) -> None:
        """Pass nothing on, in either direction, and close nothing: a black hole."""
        self._open.clear()

    def let_go(self) -> None:
        """Pass on what was held."""
        self._open.set()

    def cut(self) -> None:
        """Close every connection at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(OSError, asyncio.CancelledError):  # at the end each connection is cancelled
                there, back = await asyncio.open_connection("127.0.0.1", self._to)
                self._writers.add(back)
                try:
                    await self._both(reader, writer, there, back)
                finally:
                    self._writers.discard(back)
                    back.transport.abort()
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.create_task(self._pass(reader, back, replies=False)),
            asyncio.create_task(self._pass(there, writer, replies=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, replies: bool) -> None:
        while data := await source.read(CHUNK):
            await self._open.wait()
            if replies:
                if self._random.random() < self.lose:
                    self.lost += 1
                    return
                self.passed += 1
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
            target.write(data)
            await target.drain()
