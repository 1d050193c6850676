"""Pictures of a training: loss and accuracy by epoch, confusions, confidence against truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.evaluation import Labels
from trainer.onnx_model import Probabilities

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 10
METADATA = {"Software": None}  # the same figures give the same bytes


def curves(epochs: Sequence[dict[str, float]], path: Path) -> None:
    """Draw loss and accuracy of *epochs* into the file *path*."""
    figure, (left, right) = _figure(columns=2)
    numbers = [epoch["epoch"] for epoch in epochs]
    for axes, name in ((left, "loss"), (right, "accuracy")):
        for part, colour in (("train", "#8a8a8a"), ("valid", "#1f6f8b")):
            axes.plot(numbers, [epoch[f"{part}_{name}"] for epoch in epochs], "o-", color=colour, label=part)
        axes.set(xlabel="epoch", title=name, xticks=numbers)
        axes.legend(frameon=False)
    _save(figure, path)


def confusion(truth: Labels, predicted: Labels, labels: Sequence[str], path: Path) -> None:
    """Draw how often each true label got each answer into the file *path*."""
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (truth, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"  # noqa: PLR2004 half of the scale
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    ticks = range(len(labels))
    axes.set(xticks=ticks, yticks=ticks, xlabel="answer", ylabel="truth")
    axes.set_xticklabels(labels, rotation=30, ha="right")
    axes.set_yticklabels(labels)
    _save(figure, path)


def reliability(probabilities: Probabilities, truth: Labels, path: Path) -> None:
    """Draw the share of right answers by confidence, in ten groups of equal number, into the file *path*."""
    confidence = probabilities.max(axis=1).astype(float)
    right = probabilities.argmax(axis=1) == truth
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(BINS, len(truth)))
    shares = np.array([right[part].mean() for part in parts])
    errors = np.array([np.sqrt(share * (1 - share) / len(part)) for share, part in zip(shares, parts, strict=True)])
    lowest = 1 / probabilities.shape[1]
    figure, axes = _figure()
    axes.plot([lowest, 1], [lowest, 1], ":", color="#8a8a8a", label="as it should be")
    middles = [confidence[part].mean() for part in parts]
    axes.errorbar(middles, shares, yerr=errors, fmt="o-", color="#1f6f8b", capsize=2, label="test texts")
    axes.set(xlabel="confidence", ylabel="share of right answers", xlim=(lowest, 1.01), ylim=(lowest * 0.8, 1.02))
    axes.legend(frameon=False)
    _save(figure, path)


def _figure(columns: int = 1) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415 only those who train have it

    figure = Figure(figsize=(4.2 * columns, 3.6), dpi=110, layout="constrained")
    return figure, figure.subplots(1, columns)


def _save(figure: "Figure", path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata=METADATA)
