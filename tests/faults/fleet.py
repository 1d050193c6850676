"""Processes that are killed and replaced while a ledger sends."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.live.services import Process


class Keeper:
    """Starts again whatever has died, as the supervisor of a real stack does; counts how often."""

    def __init__(self, processes: list[Process], every_s: float = 0.1) -> None:
        self.processes = processes
        self.restarts = 0
        self._every_s = every_s

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _keep(self) -> None:
        while True:
            for process in self.processes:
                if not process.alive:
                    process.start()
                    self.restarts += 1
            await asyncio.sleep(self._every_s)


@asynccontextmanager
async def kills(processes: list[Process], every_s: float, seed: int) -> AsyncIterator[Keeper]:
    """Kill a random process every so often and keep all of them replaced."""
    chance = random.Random(seed)

    async def kill() -> None:
        while True:
            await asyncio.sleep(every_s)
            chance.choice(processes).kill()

    async with Keeper(processes) as keeper:
        killing = asyncio.create_task(kill())
        try:
            yield keeper
        finally:
            killing.cancel()
            with suppress(asyncio.CancelledError):
                await killing


def measured(process: Process, name: str) -> float:
    """Return the sum of one metric of a process over all its labels."""
    text = httpx.get(f"{process.url}/metrics", follow_redirects=True).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name)


def resident_mb(process: Process) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{process.popen.pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def cpu_s(process: Process) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{process.popen.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def time_until(condition: Callable[[], bool], within_s: float) -> float:
    """Return after how many seconds *condition* held; looked at in a thread, every 50 ms."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not await asyncio.to_thread(condition):
        assert loop.time() - start < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.05)
    return loop.time() - start


def ready(gateway: Process) -> bool:
    """Tell whether a gateway says that it is."""
    with suppress(httpx.HTTPError):
        return httpx.get(f"{gateway.url}/readyz", timeout=2).status_code == 200
    return False
