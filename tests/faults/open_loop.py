"""Load that does not wait for answers, from a client light enough not to be the slowest part."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """One answer: its status (0: the connection broke), its wait in seconds, and whether it said Retry-After."""

    status: int
    wait_s: float
    retry_after: bool


@dataclass
class OpenLoop:
    """Sends to one gateway at a constant rate, over connections that are kept."""

    port: int
    headers: str = ""
    call: str = "POST /predict"
    _idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def run(self, per_second: float, seconds: float, text: str) -> list[Answer]:
        """Return every answer, in the order of sending."""
        loop = asyncio.get_running_loop()
        start, calls = loop.time(), []
        for number in range(int(per_second * seconds)):
            late = start + number / per_second - loop.time()
            if late > 0:
                await asyncio.sleep(late)
            calls.append(asyncio.create_task(self.ask(f'{{"text":"good {number} {text}"}}')))
        return list(await asyncio.gather(*calls))

    async def ask(self, body: str) -> Answer:
        loop = asyncio.get_running_loop()
        start, writer = loop.time(), None
        try:
            reader, writer = self._kept() or await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(
                f"{self.call} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{self.headers}"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError) as error:
            if writer:
                writer.transport.abort()
            if isinstance(error, asyncio.CancelledError):
                raise
            return Answer(0, loop.time() - start, retry_after=False)
        self._idle.append((reader, writer))
        return Answer(int(head[9:12]), loop.time() - start, b"\r\nretry-after: " in head)

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():  # the gateway closes what is idle for some seconds
                return reader, writer
            writer.close()
        return None

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


@asynccontextmanager
async def cheapest(port: int, target: str) -> AsyncIterator[list[float]]:
    """Give the waits of calls that cost next to nothing, made 20 times a second meanwhile: the machine's own share."""
    client, waits_s = OpenLoop(port, call=f"GET {target}"), []

    async def ask() -> None:
        while True:
            waits_s.append((await client.ask("{}")).wait_s)
            await asyncio.sleep(0.05)

    asking = asyncio.create_task(ask())
    yield waits_s
    asking.cancel()
    client.close()


def quantile(waits: Sequence[float], share: float) -> float:
    """Return the wait that *share* of *waits* did not exceed; 0 for none."""
    return sorted(waits)[min(len(waits) - 1, int(len(waits) * share))] if waits else 0.0
