"""Results that wait for their download: in memory, under names nobody can guess, for a quarter of an hour."""

import csv
import io
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Final

KEPT_S: Final = 900
MOST: Final = 32
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


class Downloads:
    """All of one process."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, bytes]] = {}

    def keep(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
        """Keep a table as CSV; return the name under which it is found."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(heads)
        writer.writerows([_harmless(cell) for cell in row] for row in rows)
        now = time.monotonic()
        fresh = {name: kept for name, kept in self._kept.items() if now - kept[0] < KEPT_S}
        self._kept = dict(list(fresh.items())[-MOST + 1 :])
        name = secrets.token_urlsafe(24)
        self._kept[name] = (now, out.getvalue().encode())
        return name

    def find(self, name: str) -> bytes | None:
        """Return what was kept under *name*."""
        kept_at, content = self._kept.get(name, (float("-inf"), b""))
        return content if time.monotonic() - kept_at < KEPT_S else None


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell
