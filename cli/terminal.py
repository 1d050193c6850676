"""How words get onto a screen: escaped, aligned, never wrapped or cut, so that a pipe gets what an eye gets."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

EIGHTHS = "▏▎▍▌▋▊▉█"


def console() -> Console:
    """Return a console for standard output; colours only where it is a terminal."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)


def note(message: str) -> None:
    """Say something that is not the command's result."""
    print(message, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return *text* with control characters escaped, so that what others wrote cannot steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def bar(share: float, width: int = 30) -> str:
    """Draw *share* (0 to 1) of *width* characters, to an eighth of a character."""
    full, rest = divmod(round(share * width * 8), 8)
    return "█" * full + (EIGHTHS[rest - 1] if rest else "")


def columns(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Align *rows*, two spaces between columns; columns in *right* are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if position in right else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def percent(share: float | None) -> str:
    """Write a share as a percentage; a dash where it is not defined."""
    return "-" if share is None else f"{100 * share:.1f} %"


def styled(*parts: tuple[str, str]) -> Text:
    """Join (text, style) pairs; each text is escaped."""
    return Text.assemble(*((printable(text), style) for text, style in parts))
