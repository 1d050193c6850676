"""Pieces of the page as HTML; whatever comes from outside is escaped here."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

WIDE = "wide"


def card(title: str, note: str, content: str, kind: str = "") -> str:
    """Return a titled piece; *note* is text, *content* is markup."""
    said = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f'<section class="o-card {kind}"><h3>{escape(title)}</h3>{said}{content}</section>'


def cards(*pieces: str) -> str:
    """Return *pieces* side by side as far as there is room."""
    return f'<div class="o-cards">{"".join(pieces)}</div>'


def nothing(why: str) -> str:
    """Return what stands where there is nothing to see yet."""
    return f'<p class="o-nothing">No data yet. {escape(why)}</p>'


def notice(text: str, kind: str = "bad") -> str:
    """Return a message for the person at the page; *kind* is bad, warn, good or plain."""
    return f'<div class="o-notice {kind}" role="status">{escape(text)}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Return a table of markup cells; *numbers* are the columns that stand to the right."""
    right = set(numbers)
    head = "".join(f'<th{_class(at in right)} scope="col">{escape(name)}</th>' for at, name in enumerate(heads))
    body = "".join(
        f"<tr>{''.join(f'<td{_class(at in right)}>{cell}</td>' for at, cell in enumerate(row))}</tr>" for row in rows
    )
    inside = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="o-scroll" tabindex="0" role="region" aria-label="{escape(heads[0])} table">{inside}</div>'


def code(text: str) -> str:
    """Return *text* as it would be typed."""
    return f"<code>{escape(text)}</code>"


def clock(at_ms: float) -> str:
    """Return a time of day, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S")


def hour(at_ms: float) -> str:
    """Return a time of day to the minute, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M")


def day_and_clock(at_ms: float) -> str:
    """Return a day and a time of day, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%d %b %H:%M:%S")


def _class(is_number: bool) -> str:  # noqa: FBT001 - one of two
    return ' class="n"' if is_number else ""
