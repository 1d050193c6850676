"""Backlog, waits and workers over time, a column for each policy."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt

from bench.scaling.scenarios import Scenario
from bench.scaling.simulation import Outcome

INK, PAID, READY = "#1f6f54", "#c9a227", "#1f6f54"


def draw(file: Path, scenario: Scenario, outcomes: Mapping[str, Outcome]) -> None:
    """Write the picture of *outcomes* of one scenario."""
    figure, axes = plt.subplots(
        3, len(outcomes), figsize=(3.2 * len(outcomes), 7), sharex=True, sharey="row", constrained_layout=True
    )
    for column, (name, outcome) in enumerate(outcomes.items()):
        at, waiting, wanted, ready = (np.array(values) for values in zip(*outcome.samples, strict=True))
        top, middle, bottom = axes[:, column]
        top.set_title(name)
        top.plot(at / 60, np.maximum(waiting, 1), color=INK, linewidth=1)
        top.set_yscale("log")
        steps = np.arange(0, at[-1], 10.0)
        first = outcome.arrivals.searchsorted(steps)
        p99 = [
            np.quantile(outcome.latencies[a:b], 0.99) if b > a else np.nan
            for a, b in zip(first, [*first[1:], len(outcome.arrivals)], strict=True)
        ]
        middle.plot(steps / 60, p99, color=INK, linewidth=1)
        middle.set_yscale("log")
        bottom.step(at / 60, wanted, where="post", color=PAID, label="wanted")
        bottom.step(at / 60, ready, where="post", color=READY, label="ready")
        bottom.set_xlabel("minutes")
    for axis, label in zip(axes[:, 0], ("waiting texts", "p99 of 10 s, seconds", "workers"), strict=True):
        axis.set_ylabel(label)
    axes[2, 0].legend(loc="upper left", fontsize=8)
    figure.suptitle(scenario.title)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=90)
    plt.close(figure)
