"""Small charts as SVG text: no script, no outside request; colours are the page's variables, for light and dark."""

from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 360, 132
LEFT, RIGHT, TOP, BOTTOM = 34, 6, 8, 18
TALLER = 1.08  # room above the highest bar
_BOUNDS = ("lower", "upper", "difference")  # what a row of differences holds


def histogram(reference: Sequence[float], recent: Sequence[float], names: Sequence[str]) -> str:
    """Draw shares of the reference beside those of now, a pair of bars a bin; hovering names the bin."""
    top = max(*reference, *recent, 0.01) * TALLER
    step = (WIDTH - LEFT - RIGHT) / len(reference)
    bars = []
    for place, (before, now, name) in enumerate(zip(reference, recent, names, strict=True)):
        x = LEFT + place * step
        title = f"<title>{escape(name)}: reference {100 * before:.1f} %, now {100 * now:.1f} %</title>"
        bars.append(f"<g>{title}{_bar(x + step * 0.1, step * 0.38, before, top, 'before')}")
        bars.append(f"{_bar(x + step * 0.52, step * 0.38, now, top, 'now')}</g>")
    ends = _text(LEFT, HEIGHT - 4, names[0], "start") + _text(WIDTH - RIGHT, HEIGHT - 4, names[-1], "end")
    return _svg("shares of the reference and of now", _grid(top) + "".join(bars) + ends)


def accuracy_over_time(rows: Sequence[dict[str, Any]], target: float | None, ends: tuple[str, str]) -> str:
    """Draw accuracy as points with their intervals, and the target as a line; steps without a label stay empty."""
    step = (WIDTH - LEFT - RIGHT) / len(rows)
    parts = [_grid(1.0)]
    if target is not None:
        y = _y(target, 1.0)
        parts.append(f'<line class="target" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for place, row in enumerate(rows):
        if row["accuracy"] is None:
            continue
        x = LEFT + (place + 0.5) * step
        title = f"<title>{100 * row['accuracy']:.1f} % of {row['labels']} labels</title>"
        low, high, y = _y(row["lower"], 1.0), _y(row["upper"], 1.0), _y(row["accuracy"], 1.0)
        parts.append(f'<g>{title}<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        parts.append(f'<circle class="now" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/></g>')
    return _svg("accuracy over time", "".join(parts) + _ends(ends))


def counts_over_time(rows: Sequence[dict[str, Any]], ends: tuple[str, str]) -> str:
    """Draw answers per step as bars, with errors on top in the colour of what failed."""
    top = max(*(row["answers"] + row["errors"] for row in rows), 1) * TALLER
    step = (WIDTH - LEFT - RIGHT) / len(rows)
    bars = []
    for place, row in enumerate(rows):
        x, both = LEFT + (place + 0.1) * step, row["answers"] + row["errors"]
        title = f"<title>{row['answers']} answers, {row['errors']} errors</title>"
        bars.append(f"<g>{title}{_bar(x, step * 0.8, both, top, 'failed')}")
        bars.append(f"{_bar(x, step * 0.8, row['answers'], top, 'now')}</g>")
    marks = "".join(_text(LEFT - 4, _y(value, top) + 3, _short(value), "end") for value in (0, top / TALLER))
    return _svg("answers over time", marks + "".join(bars) + _ends(ends))


def calibration(rows: Sequence[dict[str, Any]]) -> str:
    """Draw accuracy against confidence; points on the dashed line are calibrated."""
    diagonal = f'<line class="target" x1="{LEFT}" y1="{_y(0, 1)}" x2="{WIDTH - RIGHT}" y2="{_y(1, 1)}"/>'
    parts = [_grid(1.0), diagonal]
    for row in rows:
        x = LEFT + row["confidence"] * (WIDTH - LEFT - RIGHT)
        low, high, y = _y(row["lower"], 1.0), _y(row["upper"], 1.0), _y(row["accuracy"], 1.0)
        said = f"confidence {100 * row['confidence']:.0f} %, right {100 * row['accuracy']:.0f} % of {row['labels']}"
        parts.append(f'<g><title>{said}</title><line class="interval" x1="{x:.1f}" x2="{x:.1f}"')
        parts.append(f' y1="{low:.1f}" y2="{high:.1f}"/><circle class="now" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/></g>')
    return _svg("accuracy against confidence", "".join(parts) + _ends(("confidence 0", "1")))


def difference_over_labels(rows: Sequence[dict[str, Any]], margin: float) -> str:
    """Draw a difference of accuracies with its bounds against the number of labels; dashed: what may be lost."""
    half = min(1.0, max(2 * margin, *(abs(row[name]) for row in rows[len(rows) // 4 :] for name in _BOUNDS)) * TALLER)
    most = max(row["labels"] for row in rows)

    def at(value: float) -> float:
        return _y(min(max(value, -half), half) + half, 2 * half)

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at(0):.1f}" y2="{at(0):.1f}"/>',
        f'<line class="target" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at(-margin):.1f}" y2="{at(-margin):.1f}"/>',
        *(_text(LEFT - 4, at(value) + 3, f"{100 * value:+.0f}", "end") for value in (-half, half)),
        _text(LEFT - 4, at(0) + 3, "0", "end"),
    ]
    for row in rows:
        x = LEFT + row["labels"] / most * (WIDTH - LEFT - RIGHT - 4)
        low, high, middle = (at(row[name]) for name in _BOUNDS)
        said = " to ".join(f"{100 * row[name]:+.1f}" for name in _BOUNDS[:2])
        parts.append(f"<g><title>{row['labels']} labels: {said} points</title>")
        parts.append(f'<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        parts.append(f'<circle class="now" cx="{x:.1f}" cy="{middle:.1f}" r="2.4"/></g>')
    return _svg("difference of accuracies, points", "".join(parts) + _ends(("0 labels", f"{most:,}")))


def meter(score: float, threshold: float) -> str:
    """Draw a score as a bar whose tick is the threshold; the bar has the colour of what failed beyond it."""
    top = max(score, threshold) * 1.15 or 1.0
    kind = "failed" if score > threshold else "now"
    return (
        '<svg class="meter" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" '
        f'aria-label="{score:.4g} of {threshold:.4g}"><rect class="rail" width="100" height="8"/>'
        f'<rect class="{kind}" width="{100 * score / top:.2f}" height="8"/>'
        f'<rect class="tick" x="{100 * threshold / top - 0.4:.2f}" width="0.8" height="8"/></svg>'
    )


def _svg(what: str, content: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(what)}">{content}</svg>'


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _bar(x: float, width: float, value: float, top: float, kind: str) -> str:
    y = _y(value, top)
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{HEIGHT - BOTTOM - y:.1f}"/>'


def _grid(top: float) -> str:
    lines = []
    for value in (0.0, top / 2, top) if top < 1 else (0.0, 0.5, 1.0):
        y = _y(value, top)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(_text(LEFT - 4, y + 3, f"{100 * value:.0f} %", "end"))
    return "".join(lines)


def _ends(names: tuple[str, str]) -> str:
    return _text(LEFT, HEIGHT - 4, names[0], "start") + _text(WIDTH - RIGHT, HEIGHT - 4, names[1], "end")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(value: float) -> str:
    return f"{value / 1000:.1f} k" if value >= 1000 else f"{value:.0f}"  # noqa: PLR2004 - thousands
