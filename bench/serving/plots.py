"""The pictures of ``bench/RESULTS.md``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from bench.serving.observa import OBSERVA
from bench.serving.record import Record, Sample
from bench.serving.report import name_of

FOLDER: Final = Path(__file__).parent / "plots"
COMPARED: Final = ("sentiment", "sentiment-linear")
OURS, THEIRS = "#1f6f54", "#9aa5a0"


def draw(record: Record) -> None:
    """Write throughput by peer, latency against load, cost by workers and by length as PNG files, where measured."""
    FOLDER.mkdir(exist_ok=True)
    if all(record.rows(model) for model in COMPARED):
        _draw_throughput(record)
    if curve := record.rows("open"):
        _draw_latency(curve)
    for part, title, label in (
        ("workers", "sentiment: cost by number of workers", "workers"),
        ("lengths", "sentiment: cost by length", "words a text"),
    ):
        if rows := record.rows(part):
            _bars(FOLDER / f"{part}.png", title, label, rows)


def _draw_throughput(record: Record) -> None:
    figure, axes = plt.subplots(1, len(COMPARED), figsize=(12, 4), constrained_layout=True)
    for axis, model in zip(axes, COMPARED, strict=True):
        busy = sorted((row for row in record.rows(model) if row.load == "c=64"), key=lambda row: row.share)
        colours = [OURS if row.system == OBSERVA else THEIRS for row in busy]
        shares = [row.share * 100 for row in busy]
        bars = axis.barh([name_of(row.system) for row in busy], shares, color=colours)
        axis.bar_label(bars, [f"{row.per_second:.0f}/s" for row in busy], padding=3)
        axis.set_title(f"{model}: 64 calls at a time")
        axis.set_xlabel("% of the model alone in a loop")
        axis.set_xlim(0, max(shares) * 1.15)
        axis.spines[["top", "right"]].set_visible(False)
    _save(figure, FOLDER / "throughput.png")


def _draw_latency(curve: Sequence[Sample]) -> None:
    figure, axis = plt.subplots(figsize=(6, 4), constrained_layout=True)
    loads = [float(row.load.rstrip("%")) for row in curve]
    for name, values in (
        ("p50", [row.p50_ms for row in curve]),
        ("p95", [row.p95_ms for row in curve]),
        ("p99", [row.p99_ms for row in curve]),
    ):
        axis.plot(loads, values, marker="o", label=name)
    axis.set(
        title="sentiment: latency against load", xlabel="% of capacity, constant arrivals", ylabel="ms", yscale="log"
    )
    axis.legend()
    axis.grid(alpha=0.3)
    _save(figure, FOLDER / "latency.png")


def _bars(file: Path, title: str, label: str, rows: Sequence[Sample]) -> None:
    figure, axis = plt.subplots(figsize=(6, 4), constrained_layout=True)
    bottom = [0.0] * len(rows)
    names = [row.load for row in rows]
    for part in rows[0].cpu_us:
        values = [row.cpu_us[part] / 1000 for row in rows]
        axis.bar(names, values, bottom=bottom, label=part)
        bottom = [below + value for below, value in zip(bottom, values, strict=True)]
    axis.set(title=title, xlabel=label, ylabel="processor ms an answer")
    axis.legend()
    axis.spines[["top", "right"]].set_visible(False)
    _save(figure, file)


def _save(figure: plt.Figure, file: Path) -> None:
    figure.savefig(file, dpi=110)
    plt.close(figure)
