"""Events a second from Redis to updated metrics, and memory: ``just bench-monitor [EVENTS]``; a server of its own."""

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from redis.asyncio import Redis

from broker.groups import ensure_groups
from broker.streams import Tag
from monitor.metrics import registry
from monitor.monitor import Measured, Monitor
from monitor.profiles import Profiles
from monitor.reading import Reader
from monitor.settings import MonitorSettings
from tests.monitor.entries import draw, results_of
from tests.monitor.process import store
from tests.servers import RedisServer

BLOCK = 50_000  # entries written and read before the next
TAG = Tag("sentiment")


async def main(events: int) -> None:
    """Write blocks of results, read each with the monitor's own reader, and print speed and memory."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start("--appendonly", "no")
        try:
            await _measure(server, store(Path(folder) / "models"), events)
        finally:
            server.stop()


async def _measure(server: RedisServer, models: Path, events: int) -> None:
    settings = MonitorSettings(redis_url=server.url, redis_password_file=None, models=models)
    redis = Redis(port=server.port)
    reader = Reader(redis, settings, TAG, Profiles(models / "sentiment", settings.rules), "bench")
    monitor = Monitor(redis, settings)
    monitor.readers[TAG], monitor._measured[TAG] = reader, Measured()  # noqa: SLF001 without its own loop
    entries = [fields for _, fields in results_of(draw(np.random.default_rng(1), BLOCK))]
    await ensure_groups(redis, TAG)
    print(f"{'events':>10}{'per second':>12}{'per CPU s':>12}{'MB at most':>12}{'state KB':>10}")
    done = 0
    while done < events:
        await _write(redis, entries)
        stop, wall, cpu = asyncio.Event(), time.perf_counter(), time.process_time()
        task = asyncio.create_task(reader.run(stop))
        while reader.folded < done + BLOCK:  # noqa: ASYNC110 the reader tells nobody
            await asyncio.sleep(0.005)
        list(registry(monitor).collect())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        stop.set()
        await task
        done += BLOCK
        await redis.xtrim(TAG.results, maxlen=0, approximate=False)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        state = len(reader.state.encode()) / 1024
        print(f"{done:>10}{BLOCK / wall:>12.0f}{BLOCK / cpu:>12.0f}{memory:>12.0f}{state:>10.0f}", flush=True)
    await redis.aclose()


async def _write(redis: Redis, entries: list[Any]) -> None:
    for start in range(0, len(entries), 1000):
        pipeline = redis.pipeline(transaction=False)
        for fields in entries[start : start + 1000]:
            pipeline.xadd(TAG.results, fields)
        await pipeline.execute()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000))
