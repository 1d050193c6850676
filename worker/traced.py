"""A stream of requests with spans: each delivery, its processing, the batch, the result. Imported where wanted."""

import time
from collections.abc import Sequence

from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from broker.settlement import Settlement
from broker.spans import Delivery, Spans, context_of, inside, span_context_of
from broker.streams import WORKERS, Tag
from worker.handler import Batch, Handled, Handler
from worker.serving import Entries, Means, Serving
from worker.speed import Speed


class TracedServing(Serving):
    """A `Serving` that tells what becomes of each request whose trace is recorded.

    The span of a delivery ends at once, so that it reaches the collector even if the worker is killed in mid-batch.
    """

    def __init__(self, spans: Spans, tag: Tag, handler: Handler, speed: Speed, means: Means) -> None:
        super().__init__(tag, handler, speed, means)
        self._spans = spans
        self._open: dict[str, Span] = {}  # entry id to the span of its processing

    async def work(self, entries: Entries, deliveries: int = 1) -> list[Settlement]:
        """Hold *entries* and return the end of each, as `Serving.work`."""
        for entry_id, fields in entries:
            self._receive(entry_id, fields.get(b"traceparent", b"").decode(errors="replace"), deliveries)
        settlements = await super().work(entries, deliveries)
        for entry_id in {entry_id for entry_id, _ in entries} - {settlement.entry_id for settlement in settlements}:
            self._open.pop(entry_id, None)  # left for a newer worker
        return settlements

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Acknowledge and publish, as `Serving.settle`."""
        for settlement in settlements:
            if settlement.request and settlement.result and settlement.entry_id not in self._open:  # given up unseen
                self._receive(settlement.entry_id, settlement.request.traceparent, settlement.result.deliveries)
        began_ns = time.time_ns()
        published = await super().settle(settlements)
        for settlement, first in zip(settlements, published, strict=True):
            if span := self._open.pop(settlement.entry_id, None):
                self._finish(span, settlement, began_ns, published=first)
        return published

    def _receive(self, entry_id: str, traceparent: str | None, deliveries: int) -> None:
        request = context_of(traceparent)
        delivery = Delivery(span_context_of(request), entry_id, deliveries)
        attributes = self._attributes("receive") | {"observa.entry_id": entry_id, "observa.deliveries": deliveries}
        received = self._spans.delivery(f"receive {self.tag.requests}", request, delivery, attributes)
        received.end()
        if received.get_span_context().trace_flags.sampled:
            self._open[entry_id] = self._spans.begin(
                f"process {self.tag.requests}",
                SpanKind.CONSUMER,
                parent=inside(received),
                attributes=attributes | {"messaging.operation.type": "process"},
                links=delivery.earlier(),
            )

    def _measure(self, handled: Handled) -> None:
        super()._measure(handled)
        for batch in handled.batches:
            if processing := [self._open[entry_id] for entry_id in batch.entry_ids if entry_id in self._open]:
                self._show(batch, processing)

    def _show(self, batch: Batch, processing: Sequence[Span]) -> None:
        """Give the batch a trace of its own with a link to each request, and each request its part, linked to it."""
        ended_ns = time.time_ns() - round((time.perf_counter() - batch.began_s - batch.seconds) * 1e9)
        began_ns = ended_ns - round(batch.seconds * 1e9)
        attributes: dict[str, AttributeValue] = {
            "observa.model": self.tag.model,
            "observa.version": batch.version,
            "observa.batch.size": len(batch.entry_ids),
            "messaging.client.id": self.means.worker,
        }
        links = [Link(span.get_span_context()) for span in processing]
        whole = self._spans.begin(
            f"batch {self.tag.model}", parent=context_of(None), attributes=attributes, links=links, began_ns=began_ns
        )
        whole.end(ended_ns)
        to_batch = [Link(whole.get_span_context())]
        for span in processing:
            part = self._spans.begin(
                f"infer {self.tag.model}",
                parent=inside(span),
                attributes=attributes,
                links=to_batch,
                began_ns=began_ns,
            )
            part.end(ended_ns)

    def _finish(self, span: Span, settlement: Settlement, began_ns: int, *, published: bool) -> None:
        result, dead = settlement.result, settlement.dead
        if result and published:
            sent = self._spans.begin(
                f"send {self.tag.results}",
                SpanKind.PRODUCER,
                parent=inside(span),
                attributes=self._attributes("send") | {"messaging.destination.name": self.tag.results},
                began_ns=began_ns,
            )
            sent.end()
        span.set_attribute("observa.published", published)
        if result:
            span.set_attributes({"messaging.message.id": result.id, "observa.queue_ms": result.queue_ms})
            span.set_attribute("observa.status", result.code or result.status)
            if result.status == "ok":
                span.set_attribute("observa.version", result.version)  # of a failed one it may be a caller's word
            else:
                span.set_status(Status(StatusCode.ERROR))
        if dead:
            span.set_attribute("observa.dead_letter", dead.reason)
        span.end()

    def _attributes(self, operation: str) -> dict[str, AttributeValue]:
        return {
            "messaging.system": "redis",
            "messaging.operation.type": operation,
            "messaging.destination.name": self.tag.requests,
            "messaging.consumer.group.name": WORKERS,
            "messaging.client.id": self.means.worker,
            "observa.model": self.tag.model,
        }
