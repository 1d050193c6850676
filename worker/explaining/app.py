"""The shell around an explainer: it starts, says that it is there, and leaves when told to."""

import asyncio
import logging
import os
import signal
import time
from typing import Any, Final

import orjson
from prometheus_client import make_asgi_app

from broker.connection import check_server, connect, patiently
from broker.duties import Duties, exit_codes
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
    signal.signal(signal.SIGTERM, Duties().leave)  # while it starts, as the gateway
    with exit_codes("explainer"):
        settings = load_settings(ExplainerSettings)
        os.nice(settings.explainer_nice)  # answers come first
        asyncio.run(serve(settings))


async def serve(settings: ExplainerSettings) -> None:
    """Explain until told to stop.

    Raises:
        ObservaError: the server or the port cannot be used.

    """
    listener = listen(settings.explainer_host, settings.explainer_port, "OBSERVA_EXPLAINER")
    redis = connect(settings, "explainer")
    stop = asyncio.Event()
    try:
        await patiently(lambda: check_server(redis, settings), settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await asyncio.to_thread(warm_up, Versions(settings))
        explainer = Explainer(redis, settings)
        server = Server(application(explainer), settings.names(settings.explainer_host))
        explainer.duties.guard()
        answering = explainer.duties.begin(server.serve(sockets=[listener]))
        try:
            await explainer.run(stop)
        finally:
            server.should_exit = True
            await asyncio.wait({answering})
            await explainer.duties.stop()
    finally:
        listener.close()
        await redis.aclose()
        await redis.connection_pool.disconnect()
    explainer.duties.check()


def warm_up(versions: Versions) -> None:
    """Explain one text of the first model: shap's arithmetic is compiled at its first use, for some seconds."""
    began = time.perf_counter()
    try:
        for name in versions.models()[:1]:
            versions.get_live(name).explain(WARM_UP, 16, lambda _: None)
    except Exception as error:  # noqa: BLE001 - of the store, of shap or of one model, which stops no other
        log.warning("not warm: %s", error)
    log.info("explainer is warm", extra={"seconds": round(time.perf_counter() - began, 1)})


def application(explainer: Explainer) -> Any:
    """Return the HTTP side: /healthz, /livez and /metrics."""
    metrics = make_asgi_app(REGISTRY)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/metrics":
            await metrics(scope, receive, send)
            return
        match scope["path"]:
            case "/healthz":
                read_at = explainer.last_read_at
                fresh = read_at is not None and time.monotonic() - read_at < SILENT_S
                status, said = (200, {"status": "ok"}) if fresh else (503, {"status": "silent"})
            case "/livez":
                status, said = (503, {"status": "stuck"}) if explainer.duties.stuck() else (200, {"status": "ok"})
            case _:
                status, said = 404, {"code": "not_found"}
        body = orjson.dumps(said)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer
