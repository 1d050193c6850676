"""How early a fall of the accuracy is paged, and how often nothing is; simulated labels."""

from typing import Final

import numpy as np

from monitor.adwin import Adwin
from monitor.detectors import ShiryaevRoberts
from monitor.settings import Rules

TARGET: Final = 0.80
USUAL: Final = 0.85
BEFORE: Final = 2000  # labels at the usual accuracy


def delay(after: float, seed: int, limit: float) -> int | None:
    """Return the labels from the fall to the page; None: none within 20 000."""
    rng = np.random.default_rng(seed)
    detector = ShiryaevRoberts(TARGET)
    for right in (rng.random(BEFORE) < USUAL).tolist():
        detector.update(correct=right)
    for at, right in enumerate((rng.random(20_000) < after).tolist()):
        detector.update(correct=right)
        if detector.statistic >= limit:
            return at + 1
    return None


def false_pages(accuracy: float, labels: int, seed: int, limit: float) -> tuple[int, int]:
    """Return the pages, and the falls that ADWIN saw, in so many labels at a constant accuracy."""
    pages = falls = 0
    detector, change = ShiryaevRoberts(TARGET), Adwin()
    for right in (np.random.default_rng(seed).random(labels) < accuracy).tolist():
        detector.update(correct=right)
        if detector.statistic >= limit:
            pages += 1
            detector.reset()
        before = change.mean
        falls += change.update(float(right)) and change.mean < before
    return pages, falls


def tables(seed: int) -> list[str]:
    """Return the tables of pages, as lines of Markdown."""
    usual = float(Rules().accuracy_run_length)
    budget = max(usual, 86_400 * 30 * 3.0)
    lines = [
        (
            f"\n## Accuracy, target {TARGET:.2f}\n\nSimulated labels; run lengths {usual:.0f} (set) and {budget:.0f} "
            "(the default budget at one label a second). Pages in 200 000 labels at a constant accuracy; in brackets "
            "the falls that ADWIN saw.\n"
        ),
        "| accuracy | set | budget |",
        "|---|---|---|",
    ]
    for accuracy in (0.80, 0.82, 0.85, 0.90):
        rows = [false_pages(accuracy, 200_000, seed, limit) for limit in (usual, budget)]
        lines.append(f"| {accuracy:.2f} | " + " | ".join(f"{pages} ({falls})" for pages, falls in rows) + " |")
    lines += [
        f"\nLabels from a fall to the page, from {USUAL:.2f}: median (longest) of 40.\n",
        "| to | set | budget |",
        "|---|---|---|",
    ]
    for after in (0.75, 0.70, 0.60):
        lines.append(f"| {after:.2f} | " + " | ".join(_delays(after, seed, limit) for limit in (usual, budget)) + " |")
    return lines


def _delays(after: float, seed: int, limit: float) -> str:
    found = [each for run in range(40) if (each := delay(after, seed + run, limit)) is not None]
    missed = 40 - len(found)
    return f"{np.median(found):.0f} ({max(found)})" + (f" -{missed}" if missed else "")
