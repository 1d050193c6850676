"""What was measured, one line each: a run may be made in pieces, and what is reported are medians over all of them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench.serving.systems import ROOT

FILE: Final = ROOT / "reports" / "bench.jsonl"
CEILING: Final = "the model alone"


@dataclass(frozen=True, slots=True)
class Sample:
    """One system under one load, once."""

    part: str  # of the bench
    system: str
    load: str  # "c=64": closed loop; "70 %": open loop; or what the part varies
    per_second: float  # good answers; of `CEILING` texts
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    mean_ms: float = 0.0
    reported_ms: float = 0.0  # mean of what the answers say of themselves
    counted_ms: float = 0.0  # mean of the gateway's own histogram
    cpu_us: dict[str, float] = field(default_factory=dict)  # of each part of the system, per good answer
    memory_mb: float = 0.0
    start_s: float = 0.0  # from nothing to the first answer
    bad: int = 0
    load_average: float = 0.0  # of the machine, before
    share: float = 0.0  # of what the model alone did right before and after; 0 where it was not asked


@dataclass(frozen=True, slots=True)
class Missing:
    """What could not be tried, and why."""

    part: str
    system: str
    why: str


class Record:
    """Everything of one run; what a new run finds is added at once, so that nothing is lost when it is stopped."""

    def __init__(self, file: Path = FILE, *, anew: bool = False) -> None:
        self._file = file
        file.parent.mkdir(exist_ok=True)
        if anew:
            file.unlink(missing_ok=True)
        self.samples: list[Sample] = []
        self.missing: dict[tuple[str, str], Missing] = {}
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        for line in lines:
            self._take(json.loads(line))

    def add(self, found: Sample | Missing) -> None:
        """Keep one more line."""
        line = asdict(found)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._take(line)

    def rows(self, part: str) -> list[Sample]:
        """Return one row for each system and load of *part*, in the order they came in: medians, and the sum of bad."""
        found: dict[tuple[str, str], list[Sample]] = {}
        for sample in self.samples:
            if sample.part == part and sample.system != CEILING:
                found.setdefault((sample.system, sample.load), []).append(sample)
        return [_median(samples) for samples in found.values()]

    def ceiling(self, part: str) -> float:
        """Return what the model alone did in the same pieces, texts a second; 0 where it was not asked."""
        rates = [sample.per_second for sample in self.samples if (sample.part, sample.system) == (part, CEILING)]
        return median(rates) if rates else 0.0

    def rounds(self, part: str, system: str, load: str | None = None) -> int:
        """Return how often *system* was measured under *load*, or under the load it met most often."""
        loads = [sample.load for sample in self.samples if (sample.part, sample.system) == (part, system)]
        return max((loads.count(one) for one in loads if load in {None, one}), default=0)

    def _take(self, line: dict[str, object]) -> None:
        if "why" in line:
            missing = Missing(**line)  # type: ignore[arg-type]
            self.missing[missing.part, missing.system] = missing
        else:
            self.samples.append(Sample(**line))  # type: ignore[arg-type]


def _known(values: Iterable[float]) -> list[float]:
    return [value for value in values if value] or [0.0]


def _median(samples: Iterable[Sample]) -> Sample:
    rows = [asdict(sample) for sample in samples]
    row = {
        name: median(_known(one[name] for one in rows)) if isinstance(value, float) else value
        for name, value in rows[0].items()
    }
    row["cpu_us"] = {name: median(one["cpu_us"][name] for one in rows) for name in rows[0]["cpu_us"]}
    row["bad"] = sum(one["bad"] for one in rows)
    return Sample(**row)
