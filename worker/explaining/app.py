"""The shell around an explainer: it starts, says that it is there, and leaves when told to."""

import asyncio
import logging
import os
import signal
import sys
import time
from typing import Any, Final

import orjson
from prometheus_client import make_asgi_app

from broker.connection import check_server, connect
from broker.errors import ModelRefusedError, ObservaError, StoreError
from broker.listening import Server, listen
from broker.logs import log_to_stderr
from broker.settings import load_settings
from worker.explaining.explainer import Explainer
from worker.explaining.metrics import REGISTRY
from worker.explaining.settings import ExplainerSettings
from worker.explaining.versions import Versions

SILENT_S: Final = 15.0  # without an answer from Redis
WARM_UP: Final = "a first text, to have everything compiled before somebody waits"

log = logging.getLogger(__name__)


def main() -> None:
    """Run one explainer until SIGTERM; a mistake of the person who started it is one line and exit code 2."""
    log_to_stderr("explainer")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported; see worker/app.py
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        settings = load_settings(ExplainerSettings)
        os.nice(settings.explainer_nice)  # answers come first
        asyncio.run(serve(settings))
    except ObservaError as error:
        print(f"observa explainer: {error}", file=sys.stderr)  # noqa: T201 - for a person
        sys.exit(2)


async def serve(settings: ExplainerSettings) -> None:
    """Explain until told to stop.

    Raises:
        ObservaError: the server or the port cannot be used.

    """
    listener = listen(settings.explainer_host, settings.explainer_port, "OBSERVA_EXPLAINER")
    redis = connect(settings, "explainer")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await check_server(redis, settings)
        await asyncio.to_thread(warm_up, Versions(settings))
        explainer = Explainer(redis, settings)
        server = Server(application(explainer), settings.names(settings.explainer_host))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await explainer.run(stop)
        server.should_exit = True
        await serving
    finally:
        listener.close()
        await redis.aclose()
        await redis.connection_pool.disconnect()


def warm_up(versions: Versions) -> None:
    """Explain one text of the first model: shap's arithmetic is compiled at its first use, for some seconds."""
    began = time.perf_counter()
    try:
        for name in versions.models()[:1]:
            versions.get_live(name).explain(WARM_UP, 16, lambda _: None)
    except (ModelRefusedError, StoreError) as error:
        log.warning("not warm: %s", error)
    log.info("explainer is warm", extra={"seconds": round(time.perf_counter() - began, 1)})


def application(explainer: Explainer) -> Any:
    """Return the HTTP side: /healthz and /metrics."""
    metrics = make_asgi_app(REGISTRY)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/metrics":
            await metrics(scope, receive, send)
            return
        read_at = explainer.last_read_at
        fresh = read_at is not None and time.monotonic() - read_at < SILENT_S
        known = scope["path"] == "/healthz"
        body = orjson.dumps({"status": "ok" if fresh else "silent"} if known else {"code": "not_found"})
        status = (200 if fresh else 503) if known else 404
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer
