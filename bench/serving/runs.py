"""What is measured: systems in turn, round by round, so that a machine's moods meet all of them."""

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from bench.serving.ceiling import ceiling
from bench.serving.load import Plan
from bench.serving.observa import observa
from bench.serving.rivals import MissingPeerError, own_folder, peer
from bench.serving.systems import ROOT, Measured, Running, measure

OBSERVA: Final = "observa"
TEXTS: Final = ROOT / ".cache" / "demo-texts.json"
LOADS: Final = (0.1, 0.25, 0.5, 0.7, 0.85, 1.0, 1.2)  # of an open loop, as shares of what a closed one reached


@dataclass(frozen=True, slots=True)
class Row:
    """One system at one load: medians over the rounds."""

    system: str
    model: str
    load: str  # "c=64": closed loop; "70 %": open loop
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_us: dict[str, float]  # of each part, per good answer
    memory_mb: float
    bad: int
    reported_ms: float  # mean of what the answers say of themselves
    mean_ms: float
    load_average: float  # of the machine, before


def texts() -> list[str]:
    """Return the movie snippets of the test split, as `just demo-drift` fetches them."""
    return [text for text, _ in json.loads(TEXTS.read_text(encoding="utf-8"))["movies"]]


def closed(
    systems: Sequence[str], model: str, concurrencies: Sequence[int], *, rounds: int, seconds: float
) -> tuple[list[Row], float, dict[str, str]]:
    """Measure *systems* with so many calls under way; return rows, the ceiling, and what could not be tried and why."""
    found: dict[tuple[str, int], list[tuple[Measured, float]]] = {}
    ceilings, missing = [], dict[str, str]()
    for turn in range(1, rounds + 1):
        if model != "echo":
            ceilings.append(ceiling(model, texts(), seconds))
        for system in systems:
            if system in missing:
                continue
            print(f"  round {turn}/{rounds}: {model}, {system}", flush=True)
            try:
                with own_folder() as folder, _started(system, model, Path(folder)) as running:
                    for concurrency in concurrencies:
                        plan = _plan(running, seconds, connections=concurrency)
                        measure(running, _plan(running, min(2.0, seconds), connections=concurrency))
                        found.setdefault((system, concurrency), []).append(
                            (measure(running, plan), running.memory_mb())
                        )
            except MissingPeerError as error:
                missing[system] = str(error)
    rows = [_row(system, model, f"c={concurrency}", measured) for (system, concurrency), measured in found.items()]
    return rows, median(ceilings) if ceilings else 0.0, missing


def open_loop(model: str, capacity: float, *, seconds: float, shares: Iterable[float] = LOADS) -> list[Row]:
    """Measure Observa at constant rates: latency counts from when a call was due."""
    rows = []
    with own_folder() as folder, observa(model, Path(folder)) as running:
        measure(running, _plan(running, 2.0, connections=16))
        for share in shares:
            measured = measure(running, _plan(running, seconds, per_second=capacity * share))
            rows.append(_row(OBSERVA, model, f"{share:.0%}", [(measured, running.memory_mb())]))
    return rows


def by_workers(model: str, counts: Sequence[int], *, seconds: float) -> dict[int, Row]:
    """Measure Observa with so many workers at concurrency 64."""
    rows = {}
    for count in counts:
        with own_folder() as folder, observa(model, Path(folder), workers=count) as running:
            measure(running, _plan(running, 2.0, connections=64))
            measured = measure(running, _plan(running, seconds, connections=64))
            rows[count] = _row(OBSERVA, model, "c=64", [(measured, running.memory_mb())])
    return rows


def by_words(model: str, lengths: Sequence[int], *, seconds: float) -> dict[int, Row]:
    """Measure Observa with texts of so many words at concurrency 16."""
    words = " ".join(texts()).split()
    rows = {}
    with own_folder() as folder, observa(model, Path(folder)) as running:
        for length in lengths:
            long = [" ".join(words[at : at + length]) for at in range(0, 200 * 7, 7)]
            plan = Plan(tuple(map(running.request, long)), seconds, connections=16, warm_up_s=1.0)
            rows[length] = _row(OBSERVA, model, "c=16", [(measure(running, plan), running.memory_mb())])
    return rows


def _started(system: str, model: str, folder: Path) -> AbstractContextManager[Running]:
    return observa(model, folder) if system == OBSERVA else peer(system, model, folder)


def _plan(running: Running, seconds: float, *, connections: int | None = None, per_second: float | None = None) -> Plan:
    return Plan(tuple(map(running.request, texts())), seconds, connections=connections, per_second=per_second)


def _row(system: str, model: str, load: str, rounds: Sequence[tuple[Measured, float]]) -> Row:
    latencies = [measured.seen.latencies_ms or [float("nan")] for measured, _ in rounds]
    quantiles = np.median([np.percentile(one, [50, 95, 99]) for one in latencies], axis=0)
    return Row(
        system=system,
        model=model,
        load=load,
        per_second=median(measured.per_second for measured, _ in rounds),
        p50_ms=float(quantiles[0]),
        p95_ms=float(quantiles[1]),
        p99_ms=float(quantiles[2]),
        cpu_us={part: median(measured.cpu_us[part] for measured, _ in rounds) for part in rounds[0][0].cpu_us},
        memory_mb=median(memory for _, memory in rounds),
        bad=sum(sum(measured.seen.bad.values()) for measured, _ in rounds),
        reported_ms=median(measured.seen.reported_ms for measured, _ in rounds),
        mean_ms=median(float(np.mean(one)) for one in latencies),
        load_average=median(measured.load_average for measured, _ in rounds),
    )
