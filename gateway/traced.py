"""The gateway with spans: one for each call, and one for its way on to the log. Imported only where they are wanted."""

from collections.abc import Container
from dataclasses import replace

from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from redis.asyncio import Redis
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.duties import Duties
from broker.log import Acceptance, Log, Unit
from broker.spans import Spans, context_of, traceparent_of
from broker.streams import Tag
from gateway.accepting import Accepting
from gateway.guard import UNCOUNTED
from gateway.metrics import Metrics
from gateway.routing import route_of

SERVER_ERROR = 500


class Traced:
    """ASGI middleware around everything: the call's span, which from then on is what `traceparent` says.

    Its name is the route, never the path, which may hold what a caller wrote.
    """

    def __init__(self, app: ASGIApp, spans: Spans, direct: Container[tuple[str, str]]) -> None:
        self._app = app
        self._spans = spans
        self._direct = direct

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
        try:
            await self._app(scope, receive, send)
        finally:
            self._finish(span, scope)

    def _finish(self, span: Span, scope: Scope) -> None:
        state = scope["state"]
        if route := route_of(scope, self._direct):
            span.update_name(f"{scope['method']} {route}")
            span.set_attribute("http.route", route)
        if model := state.get("model"):
            span.set_attribute("observa.model", model)
        if ids := state.get("ids"):
            span.set_attribute("observa.ids", ids)
        status = state.get("status", 0)  # the guard's; there is none of a call that was cancelled
        span.set_attribute("http.response.status_code", status)
        if status >= SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


class TracedAccepting(Accepting):
    """Carries each call's trace on to the log: its entries name the span of their sending as where they come from."""

    def __init__(  # noqa: PLR0913 those of what it extends, and one more
        self, spans: Spans, redis: Redis, log: Log, metrics: Metrics, duties: Duties, *, timeout_s: float
    ) -> None:
        super().__init__(redis, log, metrics, duties, timeout_s=timeout_s)
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
