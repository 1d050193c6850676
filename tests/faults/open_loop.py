"""Load that does not wait for answers, from a client light enough not to be the slowest part."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.live.caller import Caller


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
    caller: Caller = field(default_factory=Caller)

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
        start = loop.time()
        try:
            reply = await self.caller.ask(self.port, self.call, body, self.headers)
        except (OSError, asyncio.IncompleteReadError):
            return Answer(0, loop.time() - start, retry_after=False)
        return Answer(reply.status, loop.time() - start, b"\r\nretry-after: " in reply.head)

    async def close(self) -> None:
        await self.caller.close()


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
    await client.close()


def quantile(waits: Sequence[float], share: float) -> float:
    """Return the wait that *share* of *waits* did not exceed; 0 for none."""
    return sorted(waits)[min(len(waits) - 1, int(len(waits) * share))] if waits else 0.0
