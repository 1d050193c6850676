"""The outermost layer: who may be answered, what every answer carries, what is counted, and nothing leaks."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import chain
from typing import Final

from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.addresses import host_of, is_address
from broker.errors import WrongKeyTypeError
from broker.tracing import trace_id_of
from gateway.access import Access
from gateway.intake import first_headers
from gateway.metrics import OTHER, Metrics
from gateway.path_prefix import PathPrefix
from gateway.problems import Problem
from gateway.routing import route_of
from gateway.settings import GatewaySettings

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 << 10
UNCOUNTED = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
_POLICY = b"content-security-policy"
NOTHING: Final = (_POLICY, b"default-src 'none'; frame-ancestors 'none'")
_STATUS_CODES = {404: "not_found", 405: "method_not_allowed"}
_BROKER_FAILURES = (RedisError, OSError, WrongKeyTypeError)

log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware around the whole application: FastAPI's own layers but its router lie outside and are left out.

    A call of one of the *direct* paths runs its endpoint at once, without the router.
    """

    def __init__(
        self,
        app: ASGIApp,
        direct: Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]],
        settings: GatewaySettings,
        access: Access,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._direct = direct
        self._hosts = settings.hosts
        self._internal_hosts = settings.internal_hosts
        self._access = access
        self._metrics = metrics
        self._prefix = PathPrefix(settings)
        self._access_log = settings.gateway_access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on what is not one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        if self._prefix.is_needed:
            self._prefix.note(first_headers(scope), scope.get("client"))
        began = time.perf_counter()
        answer = _Answer(send)
        try:
            self._check(scope)
            async with self._access.admitting(scope) as caller:
                scope["state"]["caller"] = caller
                await self._answer(scope, receive, answer.send)
        except ClientDisconnect:
            answer.status = 499  # nobody is there to read an answer
        except Exception as error:  # noqa: BLE001 the last resort: a bug must not show its insides
            problem = self._problem(error, scope)
            if prediction_id := problem.members.get("id"):
                scope["state"]["ids"] = (prediction_id,)
            if answer.status == 0:
                await problem.response(scope["path"])(scope, receive, answer.send)
        finally:
            scope["state"]["status"] = answer.status
            self._count(scope, answer.status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._direct.get((scope["method"], scope["path"]))
        if endpoint is None:
            await self._app(scope, receive, send)
        else:
            response = await endpoint(Request(scope, receive))
            await response(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = scope["headers"]
        size = sum(map(len, chain.from_iterable(headers))) + 4 * len(headers)
        if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
            raise Problem("headers_too_large", headers={"Connection": "close"})
        internal = self._access.is_internal(scope)
        hosts = self._internal_hosts if internal else self._hosts
        host = first_headers(scope).get(b"host")
        if not hosts or host is None:  # HTTP/1.0, as of a balancer's probe: every browser names one
            return
        name = host_of(host) or ""
        if name not in hosts and not (internal and is_address(name)):
            raise Problem("bad_host")

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        if scope["path"] in UNCOUNTED:
            return
        model = scope["state"].get("model")
        self._metrics.count(model or OTHER, status, seconds if model else None)
        if self._access_log:
            told = {"status": status, "duration_ms": round(seconds * 1000, 3)}
            log.info("answered", extra=told | self._known(scope))

    def _problem(self, error: Exception, scope: Scope) -> Problem:
        match error:
            case Problem():
                return error
            case HTTPException():  # the router's: nothing there, or not with this method
                return Problem(_STATUS_CODES.get(error.status_code, "bad_request"), headers=error.headers)
            case _ if isinstance(error, _BROKER_FAILURES):
                log.warning("Redis failed a request: %s", type(error).__name__, extra=self._known(scope))
                return Problem("broker_unavailable")
        log.error("a request failed", exc_info=error, extra=self._known(scope))
        return Problem("internal")

    def _known(self, scope: Scope) -> dict[str, object]:
        """Return what a log may say of a call: no path, no header, nothing that its caller wrote."""
        state = scope["state"]
        traceparent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        known = {
            "method": scope["method"],
            "route": route_of(scope, self._direct),
            "model": state.get("model"),
            "ids": state.get("ids"),
            "caller": state.get("caller"),
            "trace_id": trace_id_of(traceparent),
        }
        return {name: value for name, value in known.items() if value}


class _Answer:
    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"]
            has_policy = _POLICY in [name for name, _ in headers]
            message["headers"] = [*headers, *SECURITY] if has_policy else [*headers, *SECURITY, NOTHING]
        await self._send(message)
