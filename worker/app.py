"""The shell around a worker: FastStream for lifespan, signals, /healthz, /metrics and the control stream."""

import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from faststream.asgi import AsgiFastStream, AsgiResponse, get
from faststream.asgi.types import Scope
from faststream.redis import StreamSub
from prometheus_client import make_asgi_app
from redis.asyncio import Redis

from broker.connection import BLOCK_MS, check_server, connect, patiently
from broker.duties import Duties, exit_codes
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
    signal.signal(signal.SIGTERM, Duties().leave)  # while it loads
    # One process is one core's worth of work: more workers, not more threads, use the others.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Read when ONNX Runtime is imported, with the first model. Without it, 1.32 keeps a database of usage events in the
    # home folder and sends them to its maker.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with exit_codes("worker"):
        settings = load_settings(WorkerSettings)
        check_claim_time(settings)
        spans = start_tracing("worker", SPANS)
        run(serve(settings, Loading(settings).first(), spans))  # nothing is reachable or read before


async def serve(settings: WorkerSettings, prepared: list[tuple[Served, Speed]], spans: "Spans | None" = None) -> None:
    """Serve until told to stop.

    Raises:
        BrokerUnavailableError, UnsafeServerError: the server cannot be used.

    """
    redis = connect(settings, f"worker-{settings.worker_slot}")
    try:
        await patiently(lambda: check_server(redis, settings), settings)
        worker = Worker(redis, settings, prepared, discovers=not settings.worker_models, spans=spans)
        prepared.clear()  # or the first version would stay in memory after a swap
        signal.signal(signal.SIGTERM, worker.duties.leave)
        worker.duties.guard()
        await worker.start()
        spare_the_collector()
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
    worker.duties.check()


def shell(settings: WorkerSettings, worker: Worker) -> AsgiFastStream:
    """Return the FastStream application around a *worker* that has started; it stops the worker at its end."""
    bus = ControlBus(settings)

    @bus.subscriber(stream=StreamSub(CHANGES, polling_interval=BLOCK_MS))
    async def version_changed(change: Any) -> None:
        """Look at the pointer again. The entry only says that something changed."""
        await worker.announce(str(change.get("model", "")) if isinstance(change, dict) else "")

    @asynccontextmanager
    async def lifespan(**_: Any) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as error:  # noqa: BLE001 uvicorn would write its message, and go on answering without it
            worker.duties.fail("the application", error)
        finally:
            await worker.stop()

    @get
    async def livez(_: Scope) -> AsgiResponse:
        """Tell whether it works, also while Redis is away; one that does not wants to be started anew."""
        stuck = worker.duties.stuck()
        body = orjson.dumps({"status": "stuck" if stuck else "ok", "stuck": stuck})
        return AsgiResponse(body, 503 if stuck else 200, {"Content-Type": "application/json"})

    @get
    async def healthz(_: Scope) -> AsgiResponse:
        """Tell whether it reads."""
        silent = worker.silent()
        body = orjson.dumps({"status": "silent" if silent else "ok", "worker": worker.name, "silent": silent})
        return AsgiResponse(body, 503 if silent else 200, {"Content-Type": "application/json"})

    return AsgiFastStream(
        bus,
        lifespan=lifespan,
        logger=None,
        asgi_routes=[("/livez", livez), ("/healthz", healthz), ("/metrics", make_asgi_app(REGISTRY))],
    )


async def _close(redis: Redis) -> None:
    await redis.aclose()
    await redis.connection_pool.disconnect()
