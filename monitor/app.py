"""The monitor: /metrics for Prometheus, /report for people and programs, /healthz for whoever runs it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.connection import check_server, connect, patiently
from broker.duties import Duties, exit_codes
from broker.errors import BrokerUnavailableError
from broker.listening import Server, listen
from broker.logs import log_to_stderr
from broker.loops import run
from broker.memory import return_large_blocks, spare_the_collector
from broker.settings import load_settings
from monitor.asking import MODEL, Refused, asked, compared
from monitor.comparing import Comparisons, OccupiedError
from monitor.metrics import registry
from monitor.monitor import Monitor
from monitor.settings import MonitorSettings


def main() -> None:
    """Run the monitor until SIGTERM; a mistake of the person who started it is one line and exit code 2."""
    log_to_stderr("monitor")
    return_large_blocks()
    signal.signal(signal.SIGTERM, Duties().leave)  # while it starts, as the gateway
    with exit_codes("monitor"):
        run(serve(load_settings(MonitorSettings)))


async def serve(settings: MonitorSettings) -> None:
    """Watch and answer until told to stop.

    Raises:
        ObservaError: what only a person can put right.

    """
    listener = listen(settings.monitor_host, settings.monitor_port, "OBSERVA_MONITOR")
    redis = connect(settings, "monitor")
    stop = asyncio.Event()
    try:
        await patiently(lambda: check_server(redis, settings), settings)
        monitor = Monitor(redis, settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        spare_the_collector()
        server = Server(application(monitor, Comparisons(settings)), settings.names(settings.monitor_host))
        monitor.duties.guard()
        answering = monitor.duties.begin(server.serve(sockets=[listener]))
        try:
            await monitor.run(stop)
        finally:
            server.should_exit = True
            await asyncio.wait({answering})
            await monitor.duties.stop()
    finally:
        listener.close()
        await redis.aclose()
        await redis.connection_pool.disconnect()
    monitor.duties.check()


def application(monitor: Monitor, comparisons: Comparisons) -> Starlette:
    """Return the HTTP side of *monitor*."""
    numbers = registry(monitor)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(numbers), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def report(request: Request) -> Response:
        query = dict(request.query_params)
        wanted = asked(query, monitor.now_ms())
        if isinstance(wanted, Refused):
            return _json(wanted._asdict(), 400)
        model = request.path_params.get(MODEL, query.get(MODEL))
        if model is None:
            return _json({report[MODEL]: report for report in monitor.reports(wanted)})
        if model not in monitor.models():
            return _json({"code": "model_unknown", "models": monitor.models()}, 404)
        return _json(monitor.report(model, wanted))

    async def livez(_: Request) -> Response:
        stuck = monitor.duties.stuck()
        return _json({"status": "stuck" if stuck else "ok", "stuck": stuck}, 503 if stuck else 200)

    async def healthz(_: Request) -> Response:
        readers = {str(tag): reader.fresh for tag, reader in monitor.readers.items()}
        status = monitor.health()
        return _json({"status": status, "readers": readers}, 503 if status == "stale" else 200)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/report", report),
            Route("/report/{model}", report),
            Route("/compare", _compare(monitor, comparisons)),
            Route("/healthz", healthz),
            Route("/livez", livez),
        ]
    )


def _compare(monitor: Monitor, comparisons: Comparisons) -> Callable[[Request], Awaitable[Response]]:
    async def compare(request: Request) -> Response:
        question = compared(dict(request.query_params))
        if isinstance(question, Refused):
            return _json(question._asdict(), 400)
        if question.model not in monitor.models():
            return _json({"code": "model_unknown", "models": monitor.models()}, 404)
        try:
            return _json(await comparisons.find(question, monitor.now_ms()))
        except OccupiedError as error:
            return _json({"code": "occupied", "detail": str(error)}, 429)
        except (BrokerUnavailableError, RedisError):
            return _json({"code": "broker_unavailable", "detail": "the log cannot be read now"}, 503)

    return compare


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
