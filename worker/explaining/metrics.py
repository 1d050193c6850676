"""What the explainer counts."""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

EXPLANATIONS = Counter(
    "observa_explanations_total", "Explanations by how they ended.", ("model", "status"), registry=REGISTRY
)
DURATION = Histogram(
    "observa_explanation_duration_seconds",
    "From taking up a text to its explanation.",
    ("model",),
    buckets=(0.01, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
    registry=REGISTRY,
)
