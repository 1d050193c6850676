"""The pictures of ``bench/RESULTS.md``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from bench.serving.rivals import PEERS
from bench.serving.runs import OBSERVA, Row

OURS, THEIRS = "#1f6f54", "#9aa5a0"


def draw(
    folder: Path,
    shares: Mapping[str, tuple[Sequence[Row], float]],
    curve: Sequence[Row],
    workers: Mapping[int, Row],
    lengths: Mapping[int, Row],
) -> None:
    """Write throughput by peer, latency against load, cost by workers and by length as PNG files."""
    folder.mkdir(exist_ok=True)
    figure, axes = plt.subplots(1, len(shares), figsize=(11, 4), constrained_layout=True)
    for axis, (model, (rows, ceiling)) in zip(axes, shares.items(), strict=True):
        busy = sorted((row for row in rows if row.load == "c=64"), key=lambda row: row.per_second)
        names = ["Observa" if row.system == OBSERVA else PEERS[row.system].title for row in busy]
        colours = [OURS if row.system == OBSERVA else THEIRS for row in busy]
        bars = axis.barh(names, [row.per_second / ceiling * 100 for row in busy], color=colours)
        axis.bar_label(bars, [f"{row.per_second:.0f}/s" for row in busy], padding=3)
        axis.set_title(f"{model}: 64 calls at a time")
        axis.set_xlabel("% of the model alone in a loop")
        axis.spines[["top", "right"]].set_visible(False)
    _save(figure, folder / "throughput.png")

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
    _save(figure, folder / "latency.png")

    _bars(folder / "workers.png", "sentiment: cost by number of workers", "workers", workers)
    _bars(folder / "lengths.png", "sentiment: cost by length", "words a text", lengths)


def _bars(file: Path, title: str, label: str, rows: Mapping[int, Row]) -> None:
    figure, axis = plt.subplots(figsize=(6, 4), constrained_layout=True)
    bottom = [0.0] * len(rows)
    names = [str(key) for key in rows]
    for part in next(iter(rows.values())).cpu_us:
        values = [row.cpu_us[part] / 1000 for row in rows.values()]
        axis.bar(names, values, bottom=bottom, label=part)
        bottom = [below + value for below, value in zip(bottom, values, strict=True)]
    axis.set(title=title, xlabel=label, ylabel="processor ms an answer")
    axis.legend()
    axis.spines[["top", "right"]].set_visible(False)
    _save(figure, file)


def _save(figure: plt.Figure, file: Path) -> None:
    figure.savefig(file, dpi=110)
    plt.close(figure)
