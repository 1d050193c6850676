"""The delays as a picture: one row a change, one mark a run, on a logarithmic scale."""

from collections.abc import Mapping
from typing import Final

import numpy as np

COLOURS: Final = {"set": "#1f77b4", "budget": "#d95f02", "shipped": "#4d4d4d"}
LEFT, WIDTH, LANE, TOP = 190, 620, 13, 46
FIRST: Final = 10  # answers at the left edge


def drawn(table: Mapping[str, Mapping[str, list[int | None]]], within: int) -> str:
    """Return the SVG of *table*: change to column to delays; what was not found is drawn at *within*."""
    height = TOP + len(table) * (LANE * len(COLOURS) + 10) + 30
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 30} {height}" '
            'font-family="sans-serif" font-size="12" role="img" aria-label="Answers from a change to the first alarm">'
        ),
        f'<rect width="{LEFT + WIDTH + 30}" height="{height}" fill="white"/>',
    ]
    for place, (name, colour) in enumerate(COLOURS.items()):
        parts.append(f'<circle cx="{LEFT + place * 110 + 5}" cy="14" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + place * 110 + 14}" y="18">{name}</text>')
    tick = FIRST
    while tick <= within:
        x = _x(tick, within)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 14}" x2="{x:.1f}" y2="{height - 24}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{tick}</text>')
        tick *= 10
    y = TOP
    for change, columns in table.items():
        parts.append(f'<text x="{LEFT - 8}" y="{y + LANE * 1.5 + 4:.0f}" text-anchor="end">{change}</text>')
        for column, colour in COLOURS.items():
            parts += _lane(columns[column], y + LANE / 2, colour, within)
            y += LANE
        y += 10
    return "\n".join([*parts, "</svg>", ""])


def _lane(delays: list[int | None], y: float, colour: str, within: int) -> list[str]:
    found = [within if delay is None else delay for delay in delays]
    marks = [
        f'<circle cx="{_x(delay, within):.1f}" cy="{y:.1f}" r="2" fill="{colour}" fill-opacity="0.35"/>'
        for delay in sorted(found)
    ]
    middle = _x(float(np.median(found)), within)
    line = f'<line x1="{middle:.1f}" y1="{y - 5:.1f}" x2="{middle:.1f}" y2="{y + 5:.1f}" stroke="{colour}" '
    return [*marks, f'{line}stroke-width="2.5"/>']


def _x(delay: float, within: int) -> float:
    share = np.log(max(delay, FIRST) / FIRST) / np.log(within / FIRST)
    return LEFT + float(share) * WIDTH
