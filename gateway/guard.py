"""The outermost layer: who may be answered, what every answer carries, what is counted, and nothing leaks."""

import logging
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access import Access
from gateway.metrics import OTHER, Metrics
from gateway.problems import Problem
from gateway.settings import GatewaySettings, is_address

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 << 10
UNCOUNTED = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]
_POLICY = b"content-security-policy"
_NOTHING = (_POLICY, b"default-src 'none'; frame-ancestors 'none'")

log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings, access: Access, metrics: Metrics) -> None:
        self._app = app
        self._hosts = settings.hosts
        self._internal_hosts = settings.internal_hosts
        self._access = access
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on what is not one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        began = time.perf_counter()
        answer = _Answer(send)
        try:
            self._check(scope)
            async with self._access.admitting(scope) as caller:
                scope["state"]["caller"] = caller
                await self._app(scope, receive, answer.send)
        except Problem as problem:
            await problem.response(scope["path"])(scope, receive, answer.send)
        except ClientDisconnect:
            answer.status = 499  # nobody is there to read an answer
        except Exception:  # the last resort: a bug must not show its insides
            log.exception("a request failed")
            if answer.status == 0:
                await Problem("internal").response()(scope, receive, answer.send)
        finally:
            self._count(scope, answer.status, time.perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        headers = scope["headers"]
        if len(headers) > MAX_HEADERS or sum(len(n) + len(v) + 4 for n, v in headers) > MAX_HEADER_BYTES:
            raise Problem("headers_too_large", headers={"Connection": "close"})
        internal = self._access.is_internal(scope)
        hosts = self._internal_hosts if internal else self._hosts
        if not hosts:
            return
        host = next((value for name, value in headers if name == b"host"), b"").decode("latin-1").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name not in hosts and not (internal and is_address(name)):
            raise Problem("bad_host")

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        if scope["path"] in UNCOUNTED:
            return
        model = scope["state"].get("model")
        self._metrics.count(model or OTHER, status, seconds if model else None)


class _Answer:
    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"]
            has_policy = any(name == _POLICY for name, _ in headers)
            message["headers"] = [*headers, *_SECURITY] if has_policy else [*headers, *_SECURITY, _NOTHING]
        await self._send(message)
