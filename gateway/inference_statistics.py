"""What this process answered over the Open Inference Protocol, in the words of Triton's statistics extension."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

NS_PER_MS: Final = 1_000_000


@dataclass(slots=True)
class Duration:
    """How often something was done, and how long it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: float) -> None:
        """Count one more."""
        self.count += 1
        self.ns += round(ns)


@dataclass(slots=True)
class VersionStatistics:
    """Calls and texts of one version."""

    last_inference: int = 0  # milliseconds since 1970
    inference_count: int = 0  # texts
    success: Duration = field(default_factory=Duration)  # calls
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)  # texts
    compute_infer: Duration = field(default_factory=Duration)


class Statistics:
    """Counts by model and version. Only names that workers announced come here, so they are few."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], VersionStatistics] = {}

    def succeeded(self, model: str, predictions: Sequence[Mapping[str, Any]], seconds: float) -> None:
        """Count a call, all of whose texts one version answered."""
        found = self._of(model, predictions[0]["version"])
        found.last_inference = time.time_ns() // NS_PER_MS
        found.inference_count += len(predictions)
        found.success.add(seconds * 1000 * NS_PER_MS)
        for prediction in predictions:
            found.queue.add(prediction["timing_ms"]["queue"] * NS_PER_MS)
            found.compute_infer.add(prediction["timing_ms"]["inference"] * NS_PER_MS)

    def failed(self, model: str, version: str, seconds: float) -> None:
        """Count a call that *version* was to answer."""
        self._of(model, version).fail.add(seconds * 1000 * NS_PER_MS)

    def describe(self, model: str, version: str) -> dict[str, Any]:
        """Return the statistics of a version as the extension writes them."""
        found = self._of(model, version)
        parts = {name: getattr(found, name) for name in ("success", "fail", "queue", "compute_infer")}
        return {
            "name": model,
            "version": version,
            "last_inference": found.last_inference,
            "inference_count": found.inference_count,
            "execution_count": found.success.count,
            "inference_stats": parts,
            "batch_stats": [],
        }

    def _of(self, model: str, version: str) -> VersionStatistics:
        return self._found.setdefault((model, version), VersionStatistics())
