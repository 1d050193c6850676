"""Observa as a system under load: its own server with an append-only file, gateway, workers and monitor."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from bench.serving.systems import Running
from broker.events import Request, Result
from broker.streams import WORKERS, PredictionId, Tag
from tests.live.services import Services, make_model
from tests.servers import RedisServer

OBSERVA: Final = "observa"
PASSED: Final = 10_000_000  # entries that a long log says were ever added to it


class Counted(NamedTuple):
    """What a gateway has counted of calls that classify since it started."""

    seconds: float = 0.0
    calls: float = 0.0


def counted(running: Running) -> Counted:
    """Read the gateway's histogram of durations; nothing of a system that is not Observa."""
    if "gateway" not in running.parts:
        return Counted()
    text = httpx.get(f"http://127.0.0.1:{running.port}/metrics").text
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        if family.name == "observa_request_duration_seconds"
        for sample in family.samples
        if sample.name.endswith(("_sum", "_count"))
    }
    seconds, calls = (found.get(f"observa_request_duration_seconds_{what}", 0.0) for what in ("sum", "count"))
    return Counted(seconds, calls)


@contextmanager
def observa(
    model: str, folder: Path, *, workers: int = 2, entries: int = 0, module: str | None = None
) -> Iterator[Running]:
    """Run Observa with every guarantee on; *model* is a shipped one, or ``echo``.

    The workers are *module*'s, if one is named. The log begins with so many *entries* that were read long ago, the last
    of `PASSED`.
    """
    server = RedisServer(folder)
    server.start()
    if entries:
        _fill(server, Tag(model), entries)
    services = Services(server, folder, model=model, worker_models=model)
    try:
        if model == "echo":
            make_model(services.models, "echo", kind="echo")
        else:
            services.ship(model)
        module = module or ("bench.serving.echo_worker" if model == "echo" else "worker")
        started = [services.worker(module, wait=False) for _ in range(workers)]
        for process in started:
            process.wait("/healthz")
        services.monitor()
        gateway = services.gateway()
        yield Running(
            port=gateway.port,
            path="/predict",
            parts={
                "gateway": (gateway.popen.pid,),
                "log": (server.pid,),
                "worker": tuple(process.popen.pid for process in started),
                "monitor": (services.processes[-2].popen.pid,),
            },
        )
    finally:
        services.stop()
        server.stop()


def _fill(server: RedisServer, tag: Tag, entries: int) -> None:
    request = Request(id=str(PredictionId.new(tag)), text="a joy from start to finish", version="1").to_fields()
    result = Result(
        id=request["id"],
        version="1",
        status="ok",
        label="positive",
        label_id=1,
        confidence=0.75,
        probabilities={"negative": 0.25, "positive": 0.75},
        queue_ms=1.0,
        worker="long-gone",
    ).to_fields()
    with Redis(port=server.port) as redis:
        for _ in range(0, entries, 1000):
            with redis.pipeline(transaction=False) as pipeline:
                for _ in range(1000):
                    pipeline.xadd(tag.requests, request)
                    pipeline.xadd(tag.results, result)
                pipeline.execute()
        redis.xgroup_create(tag.requests, WORKERS, id="$")
        for stream in (tag.requests, tag.results):
            last = redis.xinfo_stream(stream)["last-generated-id"]
            redis.execute_command("XSETID", stream, last, "ENTRIESADDED", PASSED)
