"""Samples as Markdown tables that also read well in a terminal."""

from collections.abc import Sequence
from typing import Final

from bench.serving.observa import OBSERVA
from bench.serving.record import Record, Sample
from bench.serving.rivals import PEERS

_HEAD: Final = (
    "system",
    "load",
    "answers/s",
    "of ceiling",
    "p50",
    "p95",
    "p99 ms",
    "CPU us an answer",
    "MB",
    "start s",
    "bad",
    "load",
)
TITLES: Final = {
    "sentiment": "sentiment (DistilBERT): closed loop",
    "sentiment-linear": "sentiment-linear: closed loop",
    "echo": "echo: the pipeline alone",
    "bulk": "sentiment-linear: 64 texts a call, four calls under way; a row counts texts",
    "log": "echo, 64 calls under way: an empty log, and one through which ten million entries went",
    "open": "sentiment: open loop, shares of the closed loop's rate",
    "workers": "sentiment: so many workers, 64 calls under way",
    "lengths": "sentiment: so many words a text, 16 calls under way",
}


def name_of(system: str) -> str:
    """Return what a system is called in tables and pictures."""
    return "Observa" if system == OBSERVA else PEERS[system].title


def section(part: str, record: Record) -> str:
    """Return one part as Markdown: its table, the ceiling, and what could not be tried."""
    ceiling, rows = record.ceiling(part), record.rows(part)
    rounds = max((record.rounds(part, row.system) for row in rows), default=0)
    notes = [f"Medians of {rounds} rounds."] if rounds > 1 else []
    notes += (
        [f"The model alone, two processes in a loop: {ceiling:.0f} texts/s; shares are of what it did just then."]
        if ceiling
        else []
    )
    notes += _agreement(rows)
    notes += [
        f"Not tried: {name_of(missing.system)}: {missing.why}"
        for missing in record.missing.values()
        if missing.part == part and not record.rounds(part, missing.system)
    ]
    return "\n\n".join([f"## {TITLES[part]}", _table([_line(row) for row in rows]), *notes])


def _agreement(rows: Sequence[Sample]) -> list[str]:
    """Say how far what Observa says of its own times is from what the load generator saw."""
    own = [row for row in rows if row.counted_ms]
    if not own:
        return []
    told = "; ".join(f"{row.load} {row.mean_ms:.1f} / {row.counted_ms:.1f} / {row.reported_ms:.1f}" for row in own)
    return [f"Mean ms of the load generator / of the gateway's histogram / of timing_ms.total: {told}."]


def _table(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(_HEAD, *lines, strict=True)]
    head, *rest = (
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (_HEAD, *lines)
    )
    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([f"| {head} |", f"|{rule}|", *(f"| {row} |" for row in rest)])


def _line(row: Sample) -> tuple[str, ...]:
    parts = " + ".join(f"{part} {used:.0f}" for part, used in row.cpu_us.items())
    cpu = f"{sum(row.cpu_us.values()):.0f}" + (f" ({parts})" if len(row.cpu_us) > 1 else "")
    return (
        name_of(row.system),
        row.load,
        f"{row.per_second:.0f}",
        f"{row.share:.0%}" if row.share else "",
        f"{row.p50_ms:.1f}",
        f"{row.p95_ms:.1f}",
        f"{row.p99_ms:.1f}",
        cpu,
        f"{row.memory_mb:.0f}",
        f"{row.start_s:.1f}",
        str(row.bad),
        f"{row.load_average:.1f}",
    )
