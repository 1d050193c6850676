"""What is measured, part by part: systems in turn, round by round, so that a machine's moods meet all of them."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from operator import eq
from pathlib import Path
from typing import Final, TypeVar

import httpx
import numpy as np

from bench.serving.ceiling import ceiling
from bench.serving.load import Plan
from bench.serving.observa import OBSERVA, counted, observa
from bench.serving.record import CEILING, Missing, Record, Sample
from bench.serving.rivals import MissingPeerError, own_folder, peer
from bench.serving.systems import ROOT, Running, measure

Load = TypeVar("Load")

TEXTS: Final = ROOT / ".cache" / "demo-texts.json"
LOADS: Final = (0.1, 0.25, 0.5, 0.7, 0.85, 1.0, 1.2)  # of an open loop, as shares of what a closed one reached
WARM_UP_S: Final = 2.0
ALONE_S: Final = 1.5
IN_A_CALL: Final = 64  # texts of a call that asks about several
COMPARED: Final = 32  # texts whose labels are compared before anything is measured


@dataclass(frozen=True, slots=True)
class How:
    """How long and how often."""

    record: Record
    systems: Sequence[str]
    rounds: int = 3
    seconds: float = 4.0


def texts() -> list[str]:
    """Return the movie snippets of the test split, as `just demo-drift` fetches them."""
    return [text for text, _ in json.loads(TEXTS.read_text(encoding="utf-8"))["movies"]]


def closed(model: str, how: How, concurrencies: Sequence[int] = (1, 16, 64)) -> None:
    """Measure every system with so many calls under way; the first gives the labels that all must give.

    What the record has already, from a run that was stopped, is not measured again.
    """
    labels: list[str] = []
    for turn in range(1, how.rounds + 1):
        for system in how.systems if model != "echo" else [OBSERVA]:
            if how.record.rounds(model, system, f"c={concurrencies[-1]}") >= turn:
                continue
            print(f"  round {turn}/{how.rounds}: {model}, {system}", flush=True)
            try:
                with _started(system, model) as (running, start_s):
                    labels = labels or running.labels(texts()[:COMPARED])
                    _compare(labels, running.labels(texts()[:COMPARED]))
                    before = _alone(model, how)
                    for concurrency in concurrencies:
                        _warm_up(running, concurrency)
                        wanted = plan(running, how.seconds, connections=concurrency)
                        found = _sample(model, system, f"c={concurrency}", running, wanted, start_s)
                        after = _alone(model, how)
                        share = 2 * found.per_second / (before + after) if after else 0.0
                        how.record.add(replace(found, share=share))
                        before = after
            except (MissingPeerError, httpx.HTTPError) as error:
                how.record.add(Missing(model, system, str(error)))


def _alone(model: str, how: How) -> float:
    """Measure the model alone, between two measurements of a system: a shared machine is another one a minute later."""
    if model == "echo":
        return 0.0
    rate = ceiling(model, texts(), ALONE_S)
    how.record.add(Sample(model, CEILING, f"c={IN_A_CALL}", rate))
    return rate


def open_loop(how: How) -> None:
    """Measure Observa at constant rates, as shares of what it reached with 64 calls under way: `sentiment` is first.

    Latency counts from when a call was due.
    """
    capacity = next(
        row.per_second for row in how.record.rows("sentiment") if (row.system, row.load) == (OBSERVA, "c=64")
    )
    with _started(OBSERVA, "sentiment") as (running, start_s):
        _warm_up(running, 16)
        for load, share in _left(how, "open", {f"{share:.0%}": share for share in LOADS}):
            wanted = plan(running, max(6.0, how.seconds), per_second=capacity * share)
            how.record.add(_sample("open", OBSERVA, load, running, wanted, start_s))


def by_workers(how: How) -> None:
    """Measure Observa with one, two and four workers, 64 calls under way."""
    for load, count in _left(how, "workers", {str(count): count for count in (1, 2, 4)}):
        with _started(OBSERVA, "sentiment", workers=count) as (running, start_s):
            _warm_up(running, 64)
            wanted = plan(running, how.seconds, connections=64)
            how.record.add(_sample("workers", OBSERVA, load, running, wanted, start_s))


def by_words(how: How) -> None:
    """Measure Observa with texts of so many words, 16 calls under way; 200 words fill 256 tokens."""
    words = " ".join(texts()).split()
    with _started(OBSERVA, "sentiment") as (running, start_s):
        for load, length in _left(how, "lengths", {str(length): length for length in (5, 20, 60, 200)}):
            long = [" ".join(words[at : at + length]) for at in range(0, 200 * 7, 7)]
            wanted = Plan(tuple(map(running.request, long)), how.seconds, connections=16)
            measure(running, replace(wanted, seconds=1.0))
            how.record.add(_sample("lengths", OBSERVA, load, running, wanted, start_s))


def in_bulk(how: How) -> None:
    """Measure Observa's linear model with calls of 64 texts, four under way; the rate counts texts."""
    found = texts()
    bodies = [json.dumps({"texts": found[at : at + IN_A_CALL]}) for at in range(0, len(found) - IN_A_CALL, 32)]
    for load, connections in _left(how, "bulk", {"c=4": 4}):
        with _started(OBSERVA, "sentiment-linear") as (running, start_s):
            wanted = Plan(tuple(map(running.request_of, bodies)), how.seconds, connections=connections)
            measure(running, replace(wanted, seconds=WARM_UP_S))
            how.record.add(_per_text(_sample("bulk", OBSERVA, load, running, wanted, start_s)))


def full_log(how: How) -> None:
    """Measure the pipeline alone on an empty log, and on one with 100,000 entries through which 10 million went."""
    for load, entries in _left(how, "log", {f"{entries} entries": entries for entries in (0, 100_000)}):
        with _started(OBSERVA, "echo", entries=entries) as (running, start_s):
            for _ in range(4):  # the monitor first reads what was there
                _warm_up(running, 64)
            wanted = plan(running, how.seconds, connections=64)
            how.record.add(_sample("log", OBSERVA, load, running, wanted, start_s))


def _left(how: How, part: str, loads: Mapping[str, Load]) -> Iterator[tuple[str, Load]]:
    """Yield the loads of a part that is measured once which the record does not have."""
    return ((name, load) for name, load in loads.items() if not how.record.rounds(part, OBSERVA, name))


PARTS: Final[dict[str, Callable[[How], None]]] = {
    "sentiment": lambda how: closed("sentiment", how),
    "sentiment-linear": lambda how: closed("sentiment-linear", how),
    "echo": lambda how: closed("echo", how),
    "bulk": in_bulk,
    "log": full_log,
    "open": open_loop,
    "workers": by_workers,
    "lengths": by_words,
}


def _compare(labels: Sequence[str], others: Sequence[str]) -> None:
    if labels != others:
        same = sum(map(eq, labels, others))
        raise MissingPeerError(f"{same} of {len(labels)} texts get the same label: it does not do the same work")


@contextmanager
def _started(system: str, model: str, *, workers: int = 2, entries: int = 0) -> Iterator[tuple[Running, float]]:
    with own_folder() as folder:
        began = time.monotonic()
        chosen: AbstractContextManager[Running] = (
            observa(model, Path(folder), workers=workers, entries=entries)
            if system == OBSERVA
            else peer(system, model, Path(folder))
        )
        with chosen as running:
            yield running, time.monotonic() - began


def _warm_up(running: Running, connections: int) -> None:
    measure(running, plan(running, WARM_UP_S, connections=connections))


def plan(running: Running, seconds: float, *, connections: int | None = None, per_second: float | None = None) -> Plan:
    """Return a closed loop of so many connections, or an open one at so many calls a second, over `texts`."""
    return Plan(tuple(map(running.request, texts())), seconds, connections=connections, per_second=per_second)


def _sample(  # noqa: PLR0913, PLR0917 what is measured, of what, and how
    part: str, system: str, load: str, running: Running, plan: Plan, start_s: float
) -> Sample:
    before = counted(running)
    measured = measure(running, plan)
    after = counted(running)
    latencies = measured.seen.latencies_ms or [float("nan")]
    p50, p95, p99 = map(float, np.percentile(latencies, [50, 95, 99]))
    return Sample(
        part=part,
        system=system,
        load=load,
        per_second=measured.per_second,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=float(np.mean(latencies)),
        reported_ms=measured.seen.reported_ms,
        counted_ms=(after.seconds - before.seconds) / max(1.0, after.calls - before.calls) * 1000,
        cpu_us=dict(measured.cpu_us),
        memory_mb=running.memory_mb(),
        start_s=start_s,
        bad=sum(measured.seen.bad.values()),
        load_average=measured.load_average,
    )


def _per_text(sample: Sample) -> Sample:
    cpu_us = {part: used / IN_A_CALL for part, used in sample.cpu_us.items()}
    return replace(sample, per_second=sample.per_second * IN_A_CALL, cpu_us=cpu_us)
