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
from numpy.typing import NDArray

from broker.connection import connect
from broker.groups import ensure_groups
from broker.manifest import Histogram, live_version, read_reference
from broker.streams import Tag
from monitor.metrics import registry
from monitor.monitor import Measured, Monitor
from monitor.profiles import Profiles
from monitor.reading import Reader
from monitor.settings import MonitorSettings
from tests.monitor.entries import prediction_id, result
from tests.servers import RedisServer

BLOCK = 50_000  # entries written and read before the next
TAG = Tag("sentiment")
MODELS = Path(__file__).parents[2] / "models"
MODEL = MODELS / TAG.model / live_version(MODELS, TAG.model)


async def main(events: int) -> None:
    """Write blocks of results, read each with the monitor's own reader, and print speed and memory."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start("--appendonly", "no")
        try:
            await _measure(server, events)
        finally:
            server.stop()


async def _measure(server: RedisServer, events: int) -> None:
    settings = MonitorSettings(redis_url=server.url, redis_password_file=None, models=MODELS)
    redis = connect(settings, "bench")
    profiles = Profiles(MODELS / TAG.model, settings.rules)
    await profiles.prepare()  # takes seconds, once
    reader = Reader(redis, settings, TAG, profiles, "bench")
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
    """Return the commands that write a block of results: every field a worker writes, drawn as the reference is."""
    rng, packed = np.random.default_rng(1), bytearray()
    reference = read_reference(MODEL)
    drawn = {name: _drawn(rng, histogram) for name, histogram in reference.features.items() if histogram.edges}
    labels = rng.choice(list(reference.labels), BLOCK, p=np.array(list(reference.labels.values())) / reference.count)
    coordinates = [drawn[name] for name in sorted(drawn) if name.startswith("embedding_")]
    for i in range(BLOCK):
        sure = float(drawn["confidence"][i])
        fields = result(
            id=prediction_id(1_800_000_000_000, i),
            label=str(labels[i]),
            confidence=sure,
            probabilities={"negative": 1 - sure, "positive": sure},
            embedding=tuple(round(float(column[i]), 3) for column in coordinates) or None,
            oov_ratio=float(drawn["oov_ratio"][i]),
            non_latin_ratio=0.0,
            **{name: int(drawn[name][i]) for name in ("characters", "words", "tokens")},
        ).to_fields()
        words = [b"XADD", TAG.results.encode(), b"*", *(part.encode() for field in fields.items() for part in field)]
        packed += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return bytes(packed)


def _drawn(rng: np.random.Generator, histogram: Histogram) -> NDArray[np.float64]:
    """Draw values that fall into the bins of *histogram* as often as its counts say."""
    edges, counts = np.array(histogram.edges), np.array(histogram.counts)
    beyond = 1.0 if edges[-1] < 1 else edges[-1] + 1  # of a share 1 is the most
    inside = np.append(edges, beyond)  # a bin holds its upper edge
    return inside[rng.choice(len(counts), BLOCK, p=counts / counts.sum())]


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
