"""Everything a worker counts and measures, declared once. Labels come from closed sets, never from a request."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, that nothing reads
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

QUEUE_WAIT = Histogram(
    "observa_queue_wait_seconds",
    "From an entry's own time to the start of its inference.",
    ["model"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
    registry=REGISTRY,
)
INFERENCE_DURATION = Histogram(
    "observa_inference_duration_seconds",
    "One batch in one version: normalisation, tokens, model, counts.",
    ["model", "version"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
)
BATCH_SIZE = Histogram(
    "observa_batch_size",
    "Texts that were inferred together.",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    registry=REGISTRY,
)
RESULTS = Counter(
    "observa_results_total",
    "Results that this worker published; a result someone else was first with is not among them.",
    ["model", "version", "role", "label", "status"],
    registry=REGISTRY,
)
REDELIVERIES = Counter(
    "observa_redeliveries_total",
    "Entries taken over because their worker did not finish them.",
    ["model"],
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "observa_dead_letters_total",
    "Entries put aside because they could not be processed.",
    ["model", "reason"],
    registry=REGISTRY,
)
UNANSWERED = Counter(
    "observa_requests_unanswered_total",
    "Accepted requests that no reader had any more when their deadline had passed; answered deadline_exceeded.",
    ["model"],
    registry=REGISTRY,
)
READ_FAILURES = Counter(
    "observa_worker_read_failures_total",
    "Reads or acknowledgements that failed and were tried again after a pause.",
    ["model", "kind"],
    registry=REGISTRY,
)
SPANS = Counter(
    "observa_trace_spans_total",
    "Spans by what became of them: exported, refused by the collector, dropped because too many waited.",
    ["outcome"],
    registry=REGISTRY,
)
SWAPS = Counter(
    "observa_model_swaps_total",
    "How often another version became the live one in this worker.",
    ["model"],
    registry=REGISTRY,
)
REFUSED = Gauge(
    "observa_model_refused",
    "1: the version is wanted and this worker could not load it, so what it has goes on; 0: it is loaded.",
    ["model", "version"],
    registry=REGISTRY,
)
SHADOW_RUNNING = Gauge(
    "observa_shadow_running",
    "1: the version is wanted as a shadow and this worker reads for it; 0: it is wanted and this worker does not.",
    ["model", "version"],
    registry=REGISTRY,
)
KEPT = Gauge(
    "observa_log_kept_seconds",
    "How long the log keeps what comes at the present rate, by kind; shown by the one worker that keeps the budget.",
    ["model", "kind"],
    registry=REGISTRY,
)
