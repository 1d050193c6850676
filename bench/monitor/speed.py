"""Events a second from Redis to updated metrics, and memory: ``just bench-monitor [EVENTS]``; a server of its own."""

import asyncio
import resource
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import orjson

from broker.connection import connect
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
    redis = connect(settings, "bench")
    reader = Reader(redis, settings, TAG, Profiles(models / "sentiment", settings.rules), "bench")
    monitor = Monitor(redis, settings)
    monitor.readers[TAG], monitor._measured[TAG] = reader, Measured()  # noqa: SLF001 without its own loop
    block = _block()
    await ensure_groups(redis, TAG)
    print(f"{'events':>10}{'per second':>12}{'per CPU s':>12}{'MB':>12}{'state KB':>10}")
    done = 0
    while done < events:
        await asyncio.to_thread(_write, server.port, block)
        stop, wall, cpu = asyncio.Event(), time.perf_counter(), time.process_time()
        task = asyncio.create_task(reader.run(stop))
        while reader.folded < done + BLOCK and not task.done():  # noqa: ASYNC110 the reader tells nobody
            await asyncio.sleep(0.005)
        list(registry(monitor).collect())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        stop.set()
        await task
        done += BLOCK
        await redis.xtrim(TAG.results, maxlen=0, approximate=False)
        state = len(reader.state.encode()) / 1024
        print(f"{done:>10}{BLOCK / wall:>12.0f}{BLOCK / cpu:>12.0f}{_resident_mb():>12.0f}{state:>10.0f}", flush=True)
    await redis.aclose()
    await redis.connection_pool.disconnect()


def _block() -> bytes:
    """Return the commands that write a block of results, with every field that a worker of the shipped model writes."""
    rng, packed = np.random.default_rng(1), bytearray()
    for _, fields in results_of(draw(rng, BLOCK)):
        more = {b"non_latin_ratio": b"0.0", b"embedding": orjson.dumps(rng.normal(0, 1, 8).round(3).tolist())}
        words = [b"XADD", TAG.results.encode(), b"*", *(part for field in (fields | more).items() for part in field)]
        packed += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return bytes(packed)


def _write(port: int, block: bytes) -> None:
    """Send a block and wait until the server has taken all of it."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        sender = threading.Thread(target=connection.sendall, args=[block])
        sender.start()
        replies = 0
        while replies < BLOCK:
            replies += connection.recv(1 << 16).count(b"$")
        sender.join()


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000))
