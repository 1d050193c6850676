"""The gateway with spans: one for each call, and one for its way on to the log. Imported only where they are wanted."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from opentelemetry.trace import SpanKind, Status, StatusCode
from redis.asyncio import Redis
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.log import Acceptance, Log, Unit
from broker.spans import Spans, context_of, traceparent_of
from broker.streams import Tag
from gateway.accepting import Accepting
from gateway.guard import UNCOUNTED
from gateway.metrics import Metrics

SERVER_ERROR = 500


class Traced:
    """ASGI middleware around everything: the call's span, which from then on is what `traceparent` says.

    Its name is the route, never the path: paths hold what callers write. The paths of *fixed* are routes.
    """

    def __init__(self, app: ASGIApp, spans: Spans, fixed: Collection[tuple[str, str]]) -> None:
        self._app = app
        self._spans = spans
        self._fixed = frozenset(fixed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on within a span."""
        if scope["type"] != "http" or scope["path"] in UNCOUNTED:
            await self._app(scope, receive, send)
            return
        headers, method = scope["headers"], scope["method"]
        parent = context_of(dict(headers).get(b"traceparent", b"").decode("latin-1"))
        span = self._spans.begin(method, SpanKind.SERVER, parent=parent, attributes={"http.request.method": method})
        scope["headers"] = [header for header in headers if header[0] != b"traceparent"]
        scope["headers"].append((b"traceparent", traceparent_of(span).encode()))
        scope.setdefault("state", {})
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            if route := self._route(scope):
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            if model := scope["state"].get("model"):
                span.set_attribute("observa.model", model)
            span.set_attribute("http.response.status_code", answer.status or 499)
            if answer.status >= SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
            span.end()

    def _route(self, scope: Scope) -> str | None:
        if (scope["method"], scope["path"]) in self._fixed:
            return str(scope["path"])
        route: Any = scope.get("route")
        return getattr(route, "path", None)


class _Answer:
    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0  # of an answer that nobody was there to read

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


class TracedAccepting(Accepting):
    """Carries each call's trace on to the log: its entries name the span of their sending as where they come from."""

    def __init__(self, spans: Spans, redis: Redis, log: Log, metrics: Metrics, *, timeout_s: float) -> None:
        super().__init__(redis, log, metrics, timeout_s=timeout_s)
        self._spans = spans

    async def accept(self, tag: Tag, unit: Unit, backlog_limit: int) -> Acceptance:
        """Put *unit* on the log of *tag*, within a span.

        Raises:
            Problem: the log cannot be reached in time, or is full.

        """
        requests = unit.requests
        span = self._spans.begin(
            f"send {tag.requests}",
            SpanKind.PRODUCER,
            parent=context_of(requests[0].traceparent),
            attributes={
                "messaging.system": "redis",
                "messaging.operation.type": "send",
                "messaging.destination.name": tag.requests,
                "messaging.batch.message_count": len(requests),
                "observa.ids": [request.id for request in requests],
            },
        )
        carried = {"traceparent": traceparent_of(span)}
        outcome = "failed"
        try:
            traced = tuple(request.model_copy(update=carried) for request in requests)
            acceptance = await super().accept(tag, replace(unit, requests=traced), backlog_limit)
            outcome = acceptance.status
        finally:
            span.set_attribute("observa.outcome", outcome)
            if outcome in {"failed", "overloaded"}:
                span.set_status(Status(StatusCode.ERROR))
            span.end()
        return acceptance
