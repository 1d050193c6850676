"""What a load takes: ``just capacity --per-minute 1000000``; every figure a formula of inputs, some of them measured.

``just capacity --help`` lists the inputs. What one machine measured is a beginning: put in what yours does.
"""

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from bench.scaling.service import measured, service_of

GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the plan starts from. A share is of one core, or of the whole."""

    # Measured, by `just bench-scaling measure`:
    worker_per_second: float  # texts of one worker on one core
    gateway_us: float  # processor time of a gateway, a text
    redis_us: float  # of Redis, a text
    monitor_us: float  # of the monitor, a text
    request_bytes: float  # in Redis, of a text that waits or is kept
    result_bytes: float
    answer_bytes: float
    join_bytes: float
    worker_connections: float  # with one shard
    gateway_connections: float
    # Chosen:
    per_minute: float = 1_000_000  # texts, at the peak
    utilisation: float = 0.6  # of workers and gateways
    redis_utilisation: float = 0.5  # of the one thread that runs commands
    spare: float = 0.1  # more workers, for a node that is lost
    text_h: float = 0.25  # OBSERVA_TEXT_RETENTION_H
    results_h: float = 1.0  # OBSERVA_RESULTS_RETENTION_H; the archive keeps them longer
    answers_h: float = 0.25  # OBSERVA_ANSWER_RETENTION_S
    joins_h: float = 24.0  # OBSERVA_JOIN_RETENTION_H
    primary_gb: float = 64.0  # memory of a primary's machine
    shards_per_primary: int = 4  # so that slots can move one at a time
    cell_share: float = 0.5  # of what one monitor can follow, that one cell is given
    max_clients: int = 10_000  # of a Redis server


class Figure(NamedTuple):
    """One line of the plan."""

    name: str
    formula: str
    value: str


def plan(given: Inputs) -> list[Figure]:
    """Return what *given* takes: of one cell, and how many cells."""
    total = given.per_minute / 60
    most_cell = given.cell_share / (given.monitor_us / 1e6)
    cells = _up(total / most_cell)
    rate = total / cells
    workers = _up(rate / (given.utilisation * given.worker_per_second) * (1 + given.spare))
    gateways = _up(rate * given.gateway_us / 1e6 / given.utilisation) + 1
    by_cpu = _up(rate * given.redis_us / 1e6 / given.redis_utilisation)
    memory = memory_bytes(given, rate)
    usable = 0.5 * 0.7 * given.primary_gb * GB
    by_memory = _up(sum(memory.values()) / usable)
    primaries = max(by_cpu, by_memory)
    shards = 1 << math.ceil(math.log2(given.shards_per_primary * primaries)) if primaries > 1 else 1
    more = shards - 1  # each shard beyond the first is one more blocking read
    connections = workers * (given.worker_connections + more) + gateways * (given.gateway_connections + more)
    return [
        Figure("texts a second, all", "per minute / 60", f"{total:,.0f}"),
        Figure("one cell's most", "cell share / monitor's time a text", f"{most_cell:,.0f} texts/s"),
        Figure("cells", "all / one cell's most, rounded up", f"{cells}"),
        Figure("texts a second, a cell", "all / cells", f"{rate:,.0f}"),
        Figure("workers, a cell", "rate / (utilisation x a worker's texts/s) x (1 + spare)", f"{workers} cores"),
        Figure("gateways, a cell", "rate x gateway's time a text / utilisation, + 1", f"{gateways} cores"),
        Figure("primaries by processor", "rate x Redis' time a text / its utilisation", f"{by_cpu}"),
        *(
            Figure(f"memory of {name}", f"rate x {hours:g} h x {size:.0f} B", f"{memory[name] / GB:,.1f} GB")
            for name, hours, size in _kept(given)
        ),
        Figure("primaries by memory", "sum / (50 % of the machine x 70 % of maxmemory)", f"{by_memory}"),
        Figure("primaries, a cell", "the larger; as many replicas", f"{primaries}"),
        Figure("shards, a cell", "a power of two, at least 4 a primary; 1 for one", f"{shards}"),
        Figure(
            "connections to a primary",
            "(workers, gateways) x (theirs + shards - 1) / primaries",
            f"{connections / primaries:,.0f} of {given.max_clients:,}",
        ),
    ]


def _up(number: float) -> int:
    """Round up what is more than a whole number by more than arithmetic's own error."""
    return math.ceil(round(number, 6))


def memory_bytes(given: Inputs, rate: float) -> dict[str, float]:
    """Return the bytes of each kind of key at *rate* texts a second."""
    return {name: rate * hours * 3600 * size for name, hours, size in _kept(given)}


def _kept(given: Inputs) -> list[tuple[str, float, float]]:
    return [
        ("requests", given.text_h, given.request_bytes),
        ("results", given.results_h, given.result_bytes),
        ("answers", given.answers_h, given.answer_bytes),
        ("joins", given.joins_h, given.join_bytes),
    ]


def measured_inputs(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the inputs that were measured."""
    used = found["cpu_us_echo"]  # at the rate at which one gateway is busy, as each will be
    return {
        "worker_per_second": round(service_of(found).texts_per_second, 1),
        "gateway_us": used["gateway"],
        "redis_us": used["log"],
        "monitor_us": found["monitor_us"],
        "request_bytes": found["bytes"]["request"],
        "result_bytes": found["bytes"]["result"],
        "answer_bytes": found["bytes"]["answers"],
        "join_bytes": found["bytes"]["joins"],
        "worker_connections": found["connections"]["worker"],
        "gateway_connections": found["connections"]["gateway"],
    }


def table(figures: list[Figure]) -> str:
    """Return *figures* as Markdown."""
    lines = [f"| {figure.name} | {figure.formula} | {figure.value} |" for figure in figures]
    return "\n".join(["| figure | formula | value |", "|---|---|---|", *lines])


def main() -> None:
    """Print the plan for what the command line says."""
    known = measured_inputs(measured())
    parser = argparse.ArgumentParser(prog="just capacity", description="What a load takes.")
    for field in fields(Inputs):
        default = known.get(field.name, field.default)
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=int if field.type is int else float,
            default=default,
            help=f"{'measured' if field.name in known else 'chosen'}: {default:g}",
        )
    print(table(plan(Inputs(**vars(parser.parse_args())))))


if __name__ == "__main__":
    main()
