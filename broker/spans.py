"""Spans, as OpenTelemetry's SDK makes them, and their way to the collector, which nobody ever waits for.

A span holds names, ids, counts and times; never a text, nor a message of an exception, which may quote one.
"""

import hashlib
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes, AttributeValue
from prometheus_client import Counter

GOODBYE_MS: Final = 2000  # for what is still to be sent when a process ends

log = logging.getLogger(__name__)


class Spans:
    """Begins the spans of one service. They are sent by a thread; too many for it, or for the collector, are dropped.

    Which traces are recorded is OTEL_TRACES_SAMPLER's to say, and the caller's where it follows the parent.
    """

    def __init__(self, service: str, outcomes: Counter) -> None:
        # They would say the same of each batch: we count, and say once.
        for name in ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._ids = _Ids()
        self._waiting = _Waiting(outcomes)
        provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False, id_generator=self._ids)
        provider.sampler = _FollowsLinks(provider.sampler)
        provider.add_span_processor(self._waiting)
        self._tracer = provider.get_tracer("observa")

    def begin(  # noqa: PLR0913 - what is known of a span at its beginning
        self,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        parent: Context,
        attributes: Mapping[str, AttributeValue],
        links: Sequence[Link] = (),
        began_ns: int | None = None,
    ) -> Span:
        """Return a span that goes on until its `end`; *began_ns* is Unix time, now if it is left out."""
        return self._tracer.start_span(
            name,
            parent,
            kind,
            attributes,
            links,
            began_ns,
            record_exception=False,
            set_status_on_exception=False,
        )

    def delivery(
        self, name: str, parent: Context, delivery: "Delivery", attributes: Mapping[str, AttributeValue]
    ) -> Span:
        """Return the span of one *delivery* of an entry, linked to those before it, whoever received them."""
        self._ids.next_span_id = delivery.span_id
        return self.begin(name, SpanKind.CONSUMER, parent=parent, attributes=attributes, links=delivery.earlier())

    def stop(self) -> None:
        """Send what is left; what the collector does not take within `GOODBYE_MS` is lost."""
        self._waiting.shutdown()


class Delivery:
    """The *count*-th time that the entry of a traced request was handed to a worker.

    Its span's id follows from that, so that a worker can link to the span of one that was killed.
    """

    def __init__(self, request: SpanContext, entry_id: str, count: int) -> None:
        self._request = request
        self._entry_id = entry_id
        self._count = count
        self.span_id = self._span_id(count)

    def earlier(self) -> list[Link]:
        """Return a link to each delivery before this one."""
        return [self._link(count) for count in range(1, self._count)] if self._request.is_valid else []

    def _link(self, count: int) -> Link:
        request = self._request
        context = SpanContext(request.trace_id, self._span_id(count), is_remote=True, trace_flags=request.trace_flags)
        return Link(context, {"observa.deliveries": count})

    def _span_id(self, count: int) -> int:
        name = f"{self._request.trace_id:032x}/{self._entry_id}/{count}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) or 1


def context_of(traceparent: str | None) -> Context:
    """Return the context that *traceparent* carries; an empty one where it carries none, and a trace begins."""
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent or ""}, Context())


def span_context_of(context: Context) -> SpanContext:
    """Return the span that is current in *context*."""
    return get_current_span(context).get_span_context()


def inside(span: Span) -> Context:
    """Return the context of what happens within *span*."""
    return set_span_in_context(span, Context())


def traceparent_of(span: Span) -> str:
    """Return what carries *span* to another process."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, inside(span))
    return carrier["traceparent"]


def _resource(service: str) -> Resource:
    attributes = {"service.instance.id": f"{socket.gethostname()}-{os.getpid()}"}
    # As the SDK has it, what is said here wins over the variables.
    named = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in named:
        attributes["service.name"] = f"observa-{service}"
    return Resource.create(attributes)


class _Ids(RandomIdGenerator):
    next_span_id: int | None = None

    def generate_span_id(self) -> int:
        given, self.next_span_id = self.next_span_id, None
        return given or super().generate_span_id()


class _FollowsLinks(Sampler):
    """A trace that begins with links, as a batch's does, is recorded where one of the linked spans is."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(  # noqa: PLR0913, PLR0917 - as the SDK declares it
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        begins = not get_current_span(parent_context).get_span_context().is_valid
        wanted = begins and any(link.context.trace_flags.sampled for link in links or ())
        chosen = ALWAYS_ON if wanted else self._sampler
        return chosen.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"FollowsLinks{{{self._sampler.get_description()}}}"


class _Waiting(BatchSpanProcessor):
    """Spans that wait for the thread that sends them; of more than OTEL_BSP_MAX_QUEUE_SIZE the newest are dropped."""

    def __init__(self, outcomes: Counter) -> None:
        self._outcomes = outcomes
        self._ended = 0  # counted here by whoever ends a span, and there by the thread: no lock is needed
        self._most = self._default_max_queue_size()  # type: ignore[no-untyped-call]  # the SDK has not annotated it
        self._export = _Export(outcomes)
        super().__init__(self._export)

    def on_end(self, span: ReadableSpan) -> None:
        if self._ended - self._export.taken >= self._most:
            self._outcomes.labels("dropped").inc()
            return
        self._ended += 1
        super().on_end(span)

    def shutdown(self) -> None:
        self._batch_processor.shutdown(timeout_millis=GOODBYE_MS)


class _Export(SpanExporter):
    def __init__(self, outcomes: Counter) -> None:
        self.taken = 0
        self._outcomes = outcomes
        self._collector = OTLPSpanExporter()
        self._well = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        try:
            result = self._collector.export(spans)
        except Exception:  # noqa: BLE001 - such as an address that is none: the spans are lost either way
            result = SpanExportResult.FAILURE
        well = result is SpanExportResult.SUCCESS
        self._outcomes.labels("exported" if well else "refused").inc(len(spans))
        if self._well and not well:
            log.warning("the collector of OTEL_EXPORTER_OTLP_ENDPOINT takes no spans; they are counted and dropped")
        elif well and not self._well:
            log.info("the collector takes spans again")
        self._well = well
        return result

    def shutdown(self) -> None:
        self._collector.shutdown()  # type: ignore[no-untyped-call]  # likewise
