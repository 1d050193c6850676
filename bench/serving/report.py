"""Rows as a Markdown table that also reads well in a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.serving.rivals import PEERS
from bench.serving.runs import OBSERVA, Row

_HEAD = ("system", "load", "answers/s", "of ceiling", "p50", "p95", "p99 ms", "CPU us an answer", "MB", "bad", "load")


@dataclass(frozen=True, slots=True)
class Section:
    """One table and its title."""

    title: str
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Return it as Markdown, its columns aligned."""
        widths = [max(map(len, column)) for column in zip(_HEAD, *self.lines, strict=True)]
        rule = "|".join("-" * (width + 2) for width in widths)
        rows = [
            " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            for line in (_HEAD, *self.lines)
        ]
        notes = "".join(f"\n\n{note}" for note in self.notes)
        return (
            "\n".join([f"## {self.title}", "", f"| {rows[0]} |", f"|{rule}|", *(f"| {row} |" for row in rows[1:])])
            + notes
        )


def table(title: str, rows: Sequence[Row], ceiling: float, missing: Mapping[str, str] | None = None) -> Section:
    """Return *rows* as a section; *ceiling* is the model's own rate in a loop, 0 for none."""
    notes = [f"The model alone, two processes in a loop: {ceiling:.0f} texts/s."] if ceiling else []
    notes += [f"Not tried: {name}: {why}" for name, why in (missing or {}).items()]
    return Section(title, tuple(_line(row, ceiling) for row in rows), tuple(notes))


def _line(row: Row, ceiling: float) -> tuple[str, ...]:
    parts = " + ".join(f"{part} {used:.0f}" for part, used in row.cpu_us.items())
    cpu = f"{sum(row.cpu_us.values()):.0f}" + (f" ({parts})" if len(row.cpu_us) > 1 else "")
    title = "Observa" if row.system == OBSERVA else PEERS[row.system].title
    return (
        title,
        row.load,
        f"{row.per_second:.0f}",
        f"{row.per_second / ceiling:.0%}" if ceiling else "",
        f"{row.p50_ms:.1f}",
        f"{row.p95_ms:.1f}",
        f"{row.p99_ms:.1f}",
        cpu,
        f"{row.memory_mb:.0f}",
        str(row.bad),
        f"{row.load_average:.1f}",
    )
