"""The shell around a worker: FastStream for lifespan, signals, /healthz, /metrics and the control stream."""

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import orjson
from faststream.asgi import AsgiFastStream, AsgiResponse, get
from faststream.asgi.types import Scope
from faststream.redis import StreamSub
from prometheus_client import make_asgi_app
from redis.asyncio import Redis

from broker.connection import BLOCK_MS, check_server, connect
from broker.errors import ObservaError
from broker.listening import http_options, protocol_for
from broker.logs import log_to_stderr
from broker.loops import run
from broker.memory import return_large_blocks, spare_the_collector
from broker.settings import load_settings
from broker.streams import CHANGES
from broker.tracing import start_tracing
from worker.bus import ControlBus
from worker.loading import Loading
from worker.metrics import REGISTRY, SPANS
from worker.models import Served
from worker.settings import WorkerSettings
from worker.speed import Speed, check_claim_time
from worker.worker import Worker

if TYPE_CHECKING:
    from broker.spans import Spans

logger = logging.getLogger(__name__)


def main() -> None:
    """Run one worker until SIGTERM; a mistake of the person who started it is one line and exit code 2."""
    log_to_stderr("worker")
    return_large_blocks()
    signal.signal(signal.SIGTERM, _leave)
    # One process is one core's worth of work: more workers, not more threads, use the others.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Read when ONNX Runtime is imported, with the first model. Without it, 1.32 keeps a database of usage events in the
    # home folder and sends them to its maker.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        settings = load_settings(WorkerSettings)
        check_claim_time(settings)
        spans = start_tracing("worker", SPANS)
        failure = run(serve(settings, Loading(settings).first(), spans))  # nothing is reachable or read before
    except ObservaError as error:
        print(f"observa worker: {error}", file=sys.stderr)  # noqa: T201 for a person
        sys.exit(2)
    sys.exit(1 if failure else 0)


async def serve(
    settings: WorkerSettings, prepared: list[tuple[Served, Speed]], spans: "Spans | None" = None
) -> BaseException | None:
    """Serve until told to stop; return what made the worker stop by itself, if that happened.

    Raises:
        BrokerUnavailableError, UnsafeServerError: the server cannot be used.

    """
    redis = connect(settings, f"worker-{settings.worker_slot}")
    try:
        await check_server(redis, settings)
        worker = Worker(redis, settings, prepared, discovers=not settings.worker_models, spans=spans)
        prepared.clear()  # or the first version would stay in memory after a swap
        await shell(settings, worker).run(
            log_level=logging.WARNING,
            run_extra_options={
                **http_options(protocol_for(settings.names(settings.worker_metrics_host))),
                "host": settings.worker_metrics_host,
                "port": settings.metrics_port,
                "access_log": "false",  # read as a word
                "timeout_graceful_shutdown": 1,
            },
        )
    finally:
        await _close(redis)
        if spans:
            spans.stop()
    return worker.failure


def shell(settings: WorkerSettings, worker: Worker) -> AsgiFastStream:
    """Return the FastStream application that runs *worker* for as long as it lives."""
    bus = ControlBus(settings)

    @bus.subscriber(stream=StreamSub(CHANGES, polling_interval=BLOCK_MS))
    async def version_changed(change: Any) -> None:
        """Look at the pointer again. The entry only says that something changed."""
        await worker.announce(str(change.get("model", "")) if isinstance(change, dict) else "")

    @asynccontextmanager
    async def lifespan(**_: Any) -> AsyncIterator[None]:
        await worker.start()
        spare_the_collector()
        try:
            yield
        finally:
            await worker.stop()

    @get
    async def healthz(_: Scope) -> AsgiResponse:
        """Tell a process that runs from one that reads."""
        silent = worker.silent()
        body = orjson.dumps({"status": "silent" if silent else "ok", "worker": worker.name, "silent": silent})
        return AsgiResponse(body, 503 if silent else 200, {"Content-Type": "application/json"})

    return AsgiFastStream(
        bus,
        lifespan=lifespan,
        logger=None,
        asgi_routes=[("/healthz", healthz), ("/metrics", make_asgi_app(REGISTRY))],
    )


async def _close(redis: Redis) -> None:
    await redis.aclose()
    await redis.connection_pool.disconnect()


def _leave(_signal: int, _frame: object) -> NoReturn:
    """End with exit code 0: uvicorn repeats the signal that stopped it after everything is closed."""
    sys.exit(0)
