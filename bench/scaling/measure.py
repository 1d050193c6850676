"""Measure what the simulation and `capacity` start from: ``just bench-scaling measure``; under three quiet minutes.

Everything is read where it happens: times from the ids of entries, which Redis stamps, memory from MEMORY USAGE, and
processor time of each process.
"""

import json
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from redis import Redis

from bench.scaling.service import MEASURED
from bench.serving.load import Plan
from bench.serving.observa import observa
from bench.serving.rivals import own_folder
from bench.serving.runs import texts
from bench.serving.systems import ROOT, measure
from broker.streams import PredictionId, Tag
from tests.live.services import Services
from tests.servers import RedisServer, wait_until

MODEL: Final = "sentiment"
TAG: Final = Tag(MODEL)
SIZES: Final = (1, 2, 4, 8, 16, 32)
TEXTS: Final = 480  # of each size
WARM: Final = 3  # batches that are not counted
LOADS: Final = ((1, 0.5), (1, 0.8), (2, 0.7))  # workers, and share of what they can do one text at a time
LOAD_S: Final = 15.0


def main() -> None:
    """Measure all, print it, and keep it."""
    found: dict[str, Any] = {"circumstances": _circumstances()}
    words = texts()
    found["cycles_s"] = {}
    for size in SIZES:
        cycles, start_s = _cycles(size, words)
        found["cycles_s"][str(size)] = [round(cycle, 4) for cycle in cycles]
        found["worker_start_s"] = round(start_s, 2)
        print(f"batches of {size}: {np.mean(cycles) * 1000:.1f} ms, {size / np.mean(cycles):.0f} texts/s", flush=True)
    found["traces"] = [_trace(workers, share, words, found) for workers, share in LOADS]
    found |= _costs(words) | {"monitor_us": _monitor_us()}
    print(json.dumps({name: value for name, value in found.items() if name not in {"cycles_s", "traces"}}, indent=1))
    MEASURED.write_text(json.dumps(found, separators=(",", ":")) + "\n")


def _cycles(size: int, words: list[str]) -> tuple[list[float], float]:
    """Return the seconds between the results of batches of *size* of one busy worker, and its seconds of starting."""
    with ExitStack() as stack:
        services, redis = _stack(stack)
        for number in range(TEXTS):
            redis.xadd(TAG.requests, {"text": words[number % len(words)], "deadline_ms": 600_000})
        began = time.monotonic()
        services.worker("worker", OBSERVA_WORKER_BATCH=size, OBSERVA_CLAIM_MS=14_000)
        start_s = time.monotonic() - began
        wait_until(lambda: redis.xlen(TAG.results) == TEXTS, "all is answered", 60)
        done_ms = [_time_ms(entry_id) for entry_id, _ in redis.xrange(TAG.results)][size - 1 :: size]
        return [
            (after - before) / 1000 for before, after in zip(done_ms[WARM:], done_ms[WARM + 1 :], strict=False)
        ], start_s


def _trace(workers: int, share: float, words: list[str], found: dict[str, Any]) -> dict[str, Any]:
    """Let texts arrive at random at a share of what *workers* can do, and return when each came and was answered."""
    rate = share * workers / float(np.mean(found["cycles_s"]["1"]))
    draw = random.Random(0)
    with ExitStack() as stack:
        services, redis = _stack(stack)
        for _ in range(workers):
            services.worker("worker")
        began, due = time.monotonic(), 0.0
        while due < LOAD_S:
            due += draw.expovariate(rate)
            time.sleep(max(0.0, began + due - time.monotonic()))
            redis.xadd(TAG.requests, {"text": draw.choice(words)})
        came = redis.xrange(TAG.requests)
        wait_until(lambda: redis.xlen(TAG.results) == len(came), "all is answered", 60)
        done = {fields[b"id"].decode(): _time_ms(entry_id) for entry_id, fields in redis.xrange(TAG.results)}
        first = _time_ms(came[0][0])
        ids = [str(PredictionId.of_entry(TAG, entry_id.decode())) for entry_id, _ in came]
        pairs = [(_time_ms(entry_id) - first, done[one] - first) for (entry_id, _), one in zip(came, ids, strict=True)]
    waits = [after - before for before, after in pairs]
    print(
        f"{workers} workers at {share:.0%}: {np.mean(waits):.1f} ms, p95 {np.quantile(waits, 0.95):.1f} ms", flush=True
    )
    return {
        "workers": workers,
        "share": share,
        "arrived_ms": [a for a, _ in pairs],
        "answered_ms": [b for _, b in pairs],
    }


def _costs(words: list[str]) -> dict[str, Any]:
    """Return processor time a text by part, bytes a text by key, and connections a process, at 64 calls at a time."""
    found: dict[str, Any] = {}
    for model in (MODEL, "echo"):
        with own_folder() as folder, observa(model, Path(folder)) as running:
            requests = tuple(running.request(text) for text in words[:512])
            measure(running, Plan(requests, 2.0, connections=64))
            seen = measure(running, Plan(requests, 4.0, connections=64))
            found[f"cpu_us_{model}"] = {part: round(us, 1) for part, us in seen.cpu_us.items()}
            found[f"per_second_{model}"] = round(seen.per_second, 1)
            if model == MODEL:
                port = psutil.Process(running.parts["log"][0]).net_connections("inet")[0].laddr.port
                with Redis(port=port) as redis:
                    found["bytes"] = _bytes(redis)
                    found["connections"] = _connections(redis)
                found["memory_mb"] = {
                    part: round(sum(psutil.Process(pid).memory_full_info().uss for pid in pids) / len(pids) / 1e6)
                    for part, pids in running.parts.items()
                }
    found["mean_text_bytes"] = round(float(np.mean([len(text.encode()) for text in words])), 1)
    return found


def _monitor_us() -> float:
    """Return the monitor's processor time for one result, read in bulk."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.monitor.speed", "100000"],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    per_cpu_s = float(done.stdout.splitlines()[-1].split()[2].replace(",", ""))
    return round(1e6 / per_cpu_s, 1)


def _bytes(redis: Redis) -> dict[str, float]:
    """Return the bytes of one text in each kind of key; hashes of a minute or a second are shared by its texts."""
    entries = redis.xlen(TAG.requests)
    found = {
        name: redis.memory_usage(key, samples=0) / entries
        for name, key in (("request", TAG.requests), ("result", TAG.results))
    }
    for name in ("answers", "joins"):
        keys = list(redis.scan_iter(f"observa:{{{MODEL}}}:{name}:*", count=1000))
        texts_in = sum(redis.hlen(key) for key in keys)
        found[name] = sum(redis.memory_usage(key, samples=0) for key in keys) / texts_in
    return {name: round(size, 1) for name, size in found.items()}


def _connections(redis: Redis) -> dict[str, int]:
    """Return how many connections each kind of process holds; of the two workers, one's share."""
    names = Counter(
        re.sub(r"^observa-|-\d+.*$", "", client["name"]) for client in redis.client_list() if client["name"]
    )
    return {"gateway": names["gateway"], "worker": -(-names["worker"] // 2), "monitor": names["monitor"]}


def _stack(stack: ExitStack) -> tuple[Services, Redis]:
    folder = Path(stack.enter_context(own_folder()))
    server = RedisServer(folder)
    server.start()
    stack.callback(server.stop)
    services = Services(server, folder, model=MODEL, worker_models=MODEL)
    services.ship(MODEL)
    stack.callback(services.stop)
    return services, stack.enter_context(Redis(port=server.port))


def _time_ms(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def _circumstances() -> str:
    models = {
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    }
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {psutil.cpu_count()} cores ({', '.join(models)}), "
        f"Python {platform.python_version()}, onnxruntime {version('onnxruntime')}, embedded Valkey, append-only file,"
        f" load average {psutil.getloadavg()[0]:.1f} before; server, gateway, workers and load share the cores"
    )


if __name__ == "__main__":
    main()
