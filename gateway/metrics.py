"""What the gateway counts. Label values come from closed sets: a model is named only once a worker has announced it."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

OTHER = "other"  # the model label of everything that is not a known model
SECONDS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """One process' counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "observa_requests_total", "HTTP requests answered.", ["model", "status"], registry=self.registry
        )
        self.duration = Histogram(
            "observa_request_duration_seconds",
            "From the complete request to the answer, of calls that classify.",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.open_texts = Gauge(
            "observa_gateway_open_texts", "Texts accepted here and not yet answered.", registry=self.registry
        )
        self.broker_memory = Gauge(
            "observa_gateway_broker_memory_ratio", "Used memory of Redis, of its maxmemory.", registry=self.registry
        )
        self.broker_unsafe = Gauge(
            "observa_gateway_broker_unsafe",
            "1 where Redis may evict entries, or forgets them at a restart.",
            ["weakness"],
            registry=self.registry,
        )
        self.broker_failures = Counter(
            "observa_gateway_broker_failures_total",
            "Calls to Redis that failed, by what they were for.",
            ["duty"],
            registry=self.registry,
        )
        self.feedback = Counter(
            "observa_gateway_feedback_total",
            "Labels sent to /feedback: accepted, same, replaced, parked (before the result), unknown.",
            ["model", "outcome"],
            registry=self.registry,
        )
        self.spans = Counter(
            "observa_trace_spans_total",
            "Spans by what became of them: exported, refused by the collector, dropped because too many waited.",
            ["outcome"],
            registry=self.registry,
        )
        # `labels` costs as much as all the rest; models and statuses are few.
        self._counter = cache(lambda model, status: self.requests.labels(model, str(status)))
        self._histogram = cache(self.duration.labels)
        for duty in ("accept", "replies", "look_up", "fleet", "keys"):
            self.broker_failures.labels(duty)

    def count(self, model: str, status: int, seconds: float | None) -> None:
        """Record one answered request; *seconds* only where it was a call that classifies."""
        self._counter(model, status).inc()
        if seconds is not None:
            self._histogram(model).observe(seconds)
