"""Bytes a prediction takes while it waits for its label: ``just bench-joins [PREDICTIONS]``; a server of its own."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

import orjson
from redis.asyncio import Redis

from broker.streams import PredictionId
from tests.monitor.entries import START_MS, prediction_id
from tests.servers import RedisServer

BATCH: Final = 500
RATES: Final = (1, 10, 100, 1000)  # predictions a second, which share a hash
ROWS: Final = {
    "plain": ["positive", "0.9662", "1", "", "{}", 12],
    "labelled": ["positive", "0.9662", "1", "negative", "{}", 12],
    "2 tags": ["positive", "0.9662", "1", "", '{"source":"app","region":"eu-west"}', 12],
}


async def main(predictions: int) -> None:
    """Settle so many predictions at each rate, and print what their join rows add to the server's memory."""
    print(f"{'row':>10}{'a second':>10}{'bytes each':>12}")
    for name, row in ROWS.items():
        for rate in RATES:
            with tempfile.TemporaryDirectory() as folder:
                server = RedisServer(Path(folder))
                server.start("--appendonly", "no")
                try:
                    print(f"{name:>10}{rate:>10}{await _measured(server, row, rate, predictions):>12.1f}", flush=True)
                finally:
                    server.stop()


async def _measured(server: RedisServer, row: list[str | int], rate: int, predictions: int) -> float:
    """Write rows as the result script does, then ask the server for the memory of their keys."""
    redis = Redis(port=server.port)
    ids = [PredictionId.parse(prediction_id(START_MS + i * 1000 // rate, i)) for i in range(predictions)]
    for start in range(0, predictions, BATCH):
        pipeline = redis.pipeline(transaction=False)
        for each in ids[start : start + BATCH]:
            pipeline.hset(each.joins_key, each.uuid, orjson.dumps(row))
            pipeline.expire(each.joins_key, 7 * 24 * 3600)
        await pipeline.execute()
    total = 0
    for key in {each.joins_key for each in ids}:
        total += await redis.memory_usage(key, samples=0) or 0
    await redis.aclose()
    return total / predictions


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
