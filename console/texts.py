"""Texts out of a file that a person brings: a line each, a column of a table, or JSON."""

import csv
import io
import json
from typing import Any, Final

MOST_TEXTS: Final = 2000
COLUMN: Final = "text"


class UnreadableError(Exception):
    """The file holds no texts; the message says what one looks like."""


def read_texts(name: str, content: bytes) -> list[str]:
    """Return the texts of the file called *name*, blank ones left out.

    Raises:
        UnreadableError: there are none, or too many.

    """
    try:
        whole = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableError("This file is not UTF-8 text; save it as UTF-8 and try again.") from None
    found = [text.strip() for text in _READERS.get(name.rpartition(".")[2].lower(), _lines)(whole)]
    texts = [text for text in found if text]
    if not texts:
        raise UnreadableError("There is no text in this file: one a line, a CSV column `text`, or JSON with `text`.")
    if len(texts) > MOST_TEXTS:
        raise UnreadableError(f"This file has {len(texts):,} texts; at most {MOST_TEXTS:,} are read here.")
    return texts


def _lines(whole: str) -> list[str]:
    return whole.splitlines()


def _table(whole: str) -> list[str]:
    rows = [row for row in csv.reader(io.StringIO(whole)) if row]
    if rows and COLUMN in (heads := [head.strip().lower() for head in rows[0]]):
        at = heads.index(COLUMN)
        return [row[at] for row in rows[1:] if len(row) > at]
    return [row[0] for row in rows]


def _json(whole: str) -> list[str]:
    try:
        found = json.loads(whole)
    except ValueError:
        raise UnreadableError("This file is not JSON.") from None
    return [_text_of(one) for one in (found if isinstance(found, list) else [found])]


def _json_lines(whole: str) -> list[str]:
    try:
        return [_text_of(json.loads(line)) for line in whole.splitlines() if line.strip()]
    except ValueError:
        raise UnreadableError("A line of this file is not JSON.") from None


def _text_of(one: Any) -> str:
    return str(one.get(COLUMN, "")) if isinstance(one, dict) else str(one)


_READERS: Final = {"csv": _table, "json": _json, "jsonl": _json_lines, "ndjson": _json_lines}
