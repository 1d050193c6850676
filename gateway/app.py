"""The gateway: HTTP in, answer out. Builds the application, and runs it."""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import FrameType
from typing import Final, NoReturn

import uvicorn
from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from redis.asyncio import Redis
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.access import read_keys
from broker.connection import check_replicas, check_server, connect, patiently
from broker.duties import Duties, exit_codes
from broker.errors import SettingsError
from broker.groups import ensure_groups
from broker.listening import http_options, listen
from broker.logs import log_to_stderr
from broker.memory import spare_the_collector
from broker.settings import load_settings
from broker.streams import Tag
from broker.tracing import start_tracing
from gateway import (
    catalog,
    documentation,
    explaining,
    health,
    inference,
    looking,
    predicting,
    predictions,
    redriving,
    reference,
)
from gateway.access import Access
from gateway.early import Headers, gateway_protocol
from gateway.gateway import Gateway, run_gateway
from gateway.guard import Guard
from gateway.metrics import Metrics
from gateway.problems import Problem
from gateway.routing import direct_endpoints
from gateway.settings import GatewaySettings
from gateway.tracing import traced

GRACE_S: Final = 20  # for open requests after a signal to stop

log = logging.getLogger(__name__)


def create_app(settings: GatewaySettings, *, alone: bool = False) -> FastAPI:
    """Return the application; it connects when its lifespan begins. *alone* in its process, it ends that if it hangs.

    Raises:
        SettingsError: spans are wanted and cannot be had.

    """
    metrics = Metrics()
    access = Access(settings, metrics)
    spans = start_tracing("gateway", metrics.spans)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with run_gateway(settings, metrics, access, spans) as gateway:
                app.state.gateway = gateway
                if alone:
                    gateway.duties.guard()
                spare_the_collector()
                try:
                    yield
                except BaseException as error:  # noqa: BLE001 uvicorn would write its message, and go on answering
                    gateway.duties.fail("the application", error)
        finally:
            if spans:
                spans.stop()

    app = Application(
        title="Observa",
        version=documentation.VERSION,
        description=documentation.DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # it would show paths
    )
    for room in (predicting, predictions, explaining, catalog, looking, redriving, inference, health, reference):
        # As the application's own routes: an included router is matched twice, 12 to 35 us a request.
        app.router.routes.extend(room.router.routes)
    if access.required:
        documentation.ask_for_keys(app.openapi())
    direct = direct_endpoints(app.routes)
    guard = partial(Guard, direct=direct, settings=settings, access=access, metrics=metrics)
    app.guarded = traced(guard, spans, direct) if spans else guard
    return app


class Application(FastAPI):
    """FastAPI with the guard in place of its middleware, which costs a call more than the guard does."""

    guarded: Callable[[ASGIApp], ASGIApp]

    def build_middleware_stack(self) -> ASGIApp:
        """Return what every call goes through."""
        return self.guarded(AsyncExitStackMiddleware(self.router))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one call without FastAPI's own telemetry, which asks the environment each time whether it is wanted."""
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)


class GatewayServer(uvicorn.Server):
    """On a signal: first not ready, so that a load balancer looks elsewhere, then no new connections, then the end."""

    def __init__(self, app: FastAPI, settings: GatewaySettings) -> None:
        config = uvicorn.Config(
            app,
            loop="auto",  # uvloop where there is one
            lifespan="on",
            timeout_keep_alive=settings.gateway_keep_alive_s,
            timeout_graceful_shutdown=GRACE_S,
            **http_options(
                gateway_protocol(settings, self._refusal),
                most_connections=settings.gateway_max_connections,
            ),
        )
        super().__init__(config)
        self._application = app
        self._drain_s = settings.gateway_drain_s

    def _refusal(self, method: bytes, target: bytes, headers: Headers) -> Problem | None:
        gateway: Gateway | None = getattr(self._application.state, "gateway", None)
        return gateway.door.refusal(method, target, headers) if gateway else None

    def leave(self, *_: object) -> NoReturn:
        """End the process, with exit code 0 only if all went well."""
        gateway: Gateway | None = getattr(self._application.state, "gateway", None)
        if gateway is None:  # it never began
            sys.exit(1)
        gateway.duties.leave()

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
    log_to_stderr("gateway")
    signal.signal(signal.SIGTERM, Duties().leave)  # while it starts: the first process of a container has no default
    with exit_codes("gateway"):
        settings = load_settings(GatewaySettings)
        app = create_app(settings, alone=True)
        listeners = listen_everywhere(settings)
        asyncio.run(prepare(settings))
        for listener in listeners:
            host, port = listener.getsockname()[:2]
            log.info("listening on %s port %d", host, port)
        if settings.exposed and settings.auth == "none":
            log.warning("whoever reaches this address may use it: OBSERVA_GATEWAY_AUTH=none")
        server = GatewayServer(app, settings)
        signal.signal(signal.SIGTERM, server.leave)  # uvicorn repeats it when all is closed
        server.run(sockets=listeners)
        server.leave()


def listen_everywhere(settings: GatewaySettings) -> list[socket.socket]:
    """Return a listening socket for callers, and where there is one, for the internal port.

    Raises:
        SettingsError: an address cannot be used.

    """
    shared = settings.gateways > 1
    listeners = [listen(settings.gateway_host, settings.gateway_port, "OBSERVA_GATEWAY", shared=shared)]
    if settings.internal_port is not None:
        listeners.append(listen(settings.gateway_internal_host, settings.internal_port, "OBSERVA_GATEWAY_INTERNAL"))
    return listeners


async def prepare(settings: GatewaySettings) -> None:
    """Make sure that the log is there and safe, and that its groups exist before the first request.

    Raises:
        ObservaError: it is not; one line says what to do.

    """
    redis = connect(settings, "gateway-start")

    async def look() -> None:
        await check_server(redis, settings)
        await check_replicas(redis, settings)
        for shard in range(settings.shards):
            await ensure_groups(redis, Tag(settings.model, shard))
        if settings.auth == "keys":
            await _check_keys(redis, settings)

    try:
        await patiently(look, settings)
    finally:
        await redis.aclose()
        await redis.connection_pool.disconnect()


async def _check_keys(redis: Redis, settings: GatewaySettings) -> None:
    keys = await read_keys(redis)
    if any(key.state(time.time()) == "active" for key in keys.values()):
        return
    where = "other machines may reach it" if settings.gateway_auth is None else "OBSERVA_GATEWAY_AUTH=keys"
    raise SettingsError(
        f"an API key is needed on {settings.gateway_host} ({where}) and there is none: run `just up` on 127.0.0.1, "
        "then `just keys create NAME`, then start again; or let everybody in with OBSERVA_GATEWAY_AUTH=none"
    )
