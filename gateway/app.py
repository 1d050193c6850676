"""The gateway: HTTP in, answer out. Builds the application, and runs it."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.connection import check_server, connect
from broker.errors import BrokerUnavailableError, ObservaError, SettingsError, WrongKeyTypeError
from broker.groups import ensure_groups
from broker.logs import log_to_stderr
from broker.settings import load_settings
from broker.streams import Tag
from gateway import catalog, documentation, health, inference, predicting, predictions, reference
from gateway.gateway import Gateway, run_gateway
from gateway.guard import Guard
from gateway.metrics import Metrics
from gateway.problems import CODES, Problem
from gateway.protocol import patient_protocol
from gateway.settings import GatewaySettings

GRACE_S: Final = 20  # for open requests after a signal to stop
_STATUS_CODES: Final = {404: "not_found", 405: "method_not_allowed"}

log = logging.getLogger(__name__)


def create_app(settings: GatewaySettings) -> FastAPI:
    """Return the application; it connects when its lifespan begins."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with run_gateway(settings, metrics) as gateway:
            app.state.gateway = gateway
            yield

    app = FastAPI(
        title="Observa",
        version=documentation.VERSION,
        description=documentation.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for room in (predicting, predictions, catalog, inference, health, reference):
        # As the application's own routes: an included router is matched twice, 12 to 35 us a request.
        app.router.routes.extend(room.router.routes)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_error)
    for failure in (RedisError, OSError, WrongKeyTypeError):
        app.add_exception_handler(failure, _on_broker_failure)
    app.add_middleware(Guard, hosts=settings.hosts, metrics=metrics)
    return app


async def _on_problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)  # noqa: S101 - registered for nothing else
    if request.url.path.startswith("/v2/"):
        problem.members["error"] = CODES[problem.code][1]  # where the Open Inference Protocol's clients look
    return problem.response()


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    code = _STATUS_CODES.get(error.status_code, "bad_request")
    return await _on_problem(request, Problem(code, headers=error.headers))


async def _on_broker_failure(request: Request, error: Exception) -> Response:
    log.warning("Redis failed a request: %s", type(error).__name__)
    return await _on_problem(request, Problem("broker_unavailable"))


class GatewayServer(uvicorn.Server):
    """On a signal: first not ready, so that a load balancer looks elsewhere, then no new connections, then the end."""

    def __init__(self, app: FastAPI, settings: GatewaySettings) -> None:
        config = uvicorn.Config(
            app,
            loop="auto",  # uvloop where there is one
            http=patient_protocol(settings.gateway_header_timeout_s),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.gateway_max_connections,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=GRACE_S,
        )
        super().__init__(config)
        self._application = app
        self._drain_s = settings.gateway_drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal stops at once."""
        gateway: Gateway | None = getattr(self._application.state, "gateway", None)
        if gateway is None or gateway.draining:
            super().handle_exit(sig, frame)
            return
        gateway.draining = True
        log.info("stopping: not ready from now on")
        asyncio.get_running_loop().call_later(self._drain_s, super().handle_exit, sig, frame)


def main() -> None:
    """Run the gateway until a signal; exit with 2 and one line if it cannot start."""
    log_to_stderr()
    try:
        settings = load_settings(GatewaySettings)
        listener = listen(settings.gateway_host, settings.gateway_port)
        asyncio.run(prepare(settings))
    except ObservaError as error:
        sys.stderr.write(f"observa gateway: {error}\n")
        raise SystemExit(2) from None
    host, port = listener.getsockname()[:2]
    log.info("listening on %s port %d", host, port)
    GatewayServer(create_app(settings), settings).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, so that a port in use is found before anything else begins.

    Raises:
        SettingsError: the address cannot be used.

    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port} ({os.strerror(error.errno or 0)}); stop what uses it, "
            "or set OBSERVA_GATEWAY_HOST and OBSERVA_GATEWAY_PORT"
        ) from error


async def prepare(settings: GatewaySettings) -> None:
    """Make sure that the log is there and safe, and that its groups exist before the first request.

    Raises:
        ObservaError: it is not; one line says what to do.

    """
    redis = connect(settings, "gateway-start")
    try:
        await check_server(redis, settings)
        for shard in range(settings.shards):
            await ensure_groups(redis, Tag(settings.model, shard))
    except RedisError as error:
        raise BrokerUnavailableError(f"Redis refuses to work ({error}); look at its log") from error
    finally:
        await redis.aclose()
        await redis.connection_pool.disconnect()
