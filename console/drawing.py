"""Small pictures as SVG text; their colours are the page's variables, so they follow light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 380
HEIGHT: Final = 140
LEFT: Final = 38
RIGHT: Final = 8
TOP: Final = 8
BOTTOM: Final = 20
MANY: Final = 60  # points beyond which their dots become smaller


@dataclass(frozen=True, slots=True)
class Point:
    """One value over time with its bounds; None is a gap."""

    value: float | None
    lower: float | None
    upper: float | None
    said: str


def pairs(reference: Sequence[float], now: Sequence[float], names: Sequence[str]) -> str:
    """Draw shares of the reference as outlines behind those of now; hovering names a bin. All zeros: no reference."""
    top = max(*reference, *now, 0.01) * 1.08
    step = (WIDTH - LEFT - RIGHT) / len(now)
    parts = [_axis(top)]
    for at, (before, after, name) in enumerate(zip(reference, now, names, strict=True)):
        x = LEFT + at * step
        parts.append(f"<g><title>{escape(name)}: reference {before:.1%}, now {after:.1%}</title>")
        parts.append(_bar(x + step * 0.08, step * 0.84, before, top, "before"))
        parts.append(f"{_bar(x + step * 0.25, step * 0.5, after, top, 'now')}</g>")
    if len(names) <= 4:  # noqa: PLR2004 - there is room for every name
        parts += [_text(LEFT + (at + 0.5) * step, HEIGHT - 6, name, "middle") for at, name in enumerate(names)]
    else:
        parts += [_text(LEFT, HEIGHT - 6, names[0], "start"), _text(WIDTH - RIGHT, HEIGHT - 6, names[-1], "end")]
    return _svg("shares of the reference and of now, by bin", "".join(parts))


def over_time(
    points: Sequence[Point], target: float | None, ends: tuple[str, str], what: str, second: Sequence[Point] = ()
) -> str:
    """Draw ratios from 0 to 1 with their intervals, the target dashed, and a *second* line in another colour."""
    parts = [_axis(1.0)]
    if target is not None:
        y = _y(target, 1.0)
        parts.append(f'<line class="target" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    parts += [_line(second, "second"), _line(points, "now")]
    return _svg(what, "".join(parts) + _ends(ends))


def _line(points: Sequence[Point], kind: str) -> str:
    step = (WIDTH - LEFT - RIGHT) / max(len(points), 1)
    parts: list[str] = []
    radius = 2.0 if len(points) > MANY else 3.0
    line: list[str] = []
    for at, point in enumerate(points):
        if point.value is None:
            continue
        x, y = LEFT + (at + 0.5) * step, _y(point.value, 1.0)
        line.append(f"{x:.1f},{y:.1f}")
        parts.append(f"<g><title>{escape(point.said)}</title>")
        if point.lower is not None and point.upper is not None:
            low, high = _y(point.lower, 1.0), _y(point.upper, 1.0)
            parts.append(f'<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/></g>')
    return f'<polyline class="path {kind}" points="{" ".join(line)}"/>{"".join(parts)}'


def difference(points: Sequence[Point], margin: float, ends: tuple[str, str], what: str) -> str:
    """Draw differences with their intervals around zero, the margin dashed; what is beyond the picture ends there."""
    last = points[-1]
    top = min(1.0, max(0.02, 2 * abs(last.lower or 0.0), 2 * abs(last.upper or 0.0)))
    step = (WIDTH - LEFT - RIGHT) / len(points)
    parts = []
    for share, kind in ((top, "grid"), (0.0, "grid"), (-top, "grid"), (-margin, "target")):
        y = _around(share, top)
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if kind == "grid":
            parts.append(_text(LEFT - 4, y + 3, f"{100 * share:+.0f}" if share else "0", "end"))
    for at, point in enumerate(points):
        x = LEFT + (at + 0.5) * step
        low, high, y = (_around(value or 0.0, top) for value in (point.lower, point.upper, point.value))
        parts.append(f'<g><title>{escape(point.said)}</title><line class="interval" x1="{x:.1f}" x2="{x:.1f}"')
        parts.append(f' y1="{low:.1f}" y2="{high:.1f}"/><circle class="now" cx="{x:.1f}" cy="{y:.1f}" r="2"/></g>')
    return _svg(what, "".join(parts) + _ends(ends))


def counts(rows: Sequence[tuple[int, str]], ends: tuple[str, str], what: str) -> str:
    """Draw a count a step as bars."""
    top = max([count for count, _ in rows] or [1]) * 1.08 or 1.0
    step = (WIDTH - LEFT - RIGHT) / max(len(rows), 1)
    parts = [_text(LEFT - 4, _y(value, top) + 3, f"{value:,.0f}", "end") for value in (0, top / 1.08)]
    for at, (count, said) in enumerate(rows):
        bar = _bar(LEFT + (at + 0.1) * step, step * 0.8, count, top, "now")
        parts.append(f"<g><title>{escape(said)}</title>{bar}</g>")
    return _svg(what, "".join(parts) + _ends(ends))


def calibration(points: Sequence[tuple[float, Point]]) -> str:
    """Draw what was right against the confidence; on the dashed line the model is as right as it says."""
    line = f'<line class="target" x1="{LEFT}" y1="{_y(0, 1)}" x2="{WIDTH - RIGHT}" y2="{_y(1, 1)}"/>'
    parts = [_axis(1.0), line]
    for confidence, point in points:
        x = LEFT + confidence * (WIDTH - LEFT - RIGHT)
        low, high, y = (_y(value or 0.0, 1.0) for value in (point.lower, point.upper, point.value))
        parts.append(f'<g><title>{escape(point.said)}</title><line class="interval" x1="{x:.1f}" x2="{x:.1f}"')
        parts.append(f' y1="{low:.1f}" y2="{high:.1f}"/><circle class="now" cx="{x:.1f}" cy="{y:.1f}" r="3"/></g>')
    return _svg("accuracy against confidence", "".join(parts) + _ends(("confidence 0", "1")))


def meter(score: float, threshold: float) -> str:
    """Draw a score as a bar with a tick at its threshold; beyond it the bar is red."""
    top = max(score, threshold) * 1.2 or 1.0
    kind = "bad" if score > threshold else "now"
    return (
        '<svg class="meter" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" '
        f'aria-label="{score:.3g}, threshold {threshold:.3g}"><rect class="rail" width="100" height="8" rx="2"/>'
        f'<rect class="{kind}" width="{100 * max(score, 0) / top:.2f}" height="8" rx="2"/>'
        f'<rect class="tick" x="{100 * threshold / top - 0.5:.2f}" width="1" height="8"/></svg>'
    )


def _svg(what: str, content: str) -> str:
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(what)}">{content}</svg>'


def _axis(top: float) -> str:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share * top, top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 4, y + 3, f"{share * top:.0%}", "end"))
    return "".join(parts)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value, top) / top


def _around(value: float, top: float) -> float:
    return _y(max(0.0, value + top), 2 * top)


def _bar(x: float, width: float, value: float, top: float, kind: str) -> str:
    y = _y(value, top)
    height = HEIGHT - BOTTOM - y
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1"/>'


def _ends(names: tuple[str, str]) -> str:
    return _text(LEFT, HEIGHT - 6, names[0], "start") + _text(WIDTH - RIGHT, HEIGHT - 6, names[1], "end")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
