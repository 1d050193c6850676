"""Labelled texts from a file, read whole and checked before anything is sent."""

import csv
import hashlib
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from broker.errors import ObservaError
from broker.events import MAX_TEXT_CHARACTERS
from cli.terminal import printable

SHOWN = 5  # wrong rows that are named in an error
INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})  # Unicode categories; the gateway calls such a text blank


class UnreadableFileError(ObservaError):
    """A file of labelled texts is not what it should be."""


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One text, its true label, and where in the file it stands ("line 3", "item 3")."""

    place: str
    text: str
    label: str


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """Every row of the file, in order."""

    path: Path
    sha256: str
    rows: tuple[LabelledText, ...]

    @property
    def labels(self) -> list[str]:
        """The labels that occur, sorted."""
        return sorted({row.label for row in self.rows})


def read_labelled(path: Path, text_field: str, label_field: str) -> LabelledFile:
    """Read a JSON list of objects, one JSON object per line, or CSV with a header; UTF-8.

    Raises:
        UnreadableFileError: one line that says what is wrong, and where.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableFileError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from None
    if not text.strip():
        raise UnreadableFileError(f"{path}: the file is empty")
    objects = list(_objects(path, text))
    if not objects:
        raise UnreadableFileError(f"{path}: there are no rows")
    _check_fields(path, objects, text_field, label_field)
    _check_values(path, objects, text_field, label_field)
    rows = tuple(LabelledText(place, row[text_field], row[label_field]) for place, row in objects)
    return LabelledFile(path, hashlib.sha256(content).hexdigest(), rows)


Object = tuple[str, dict[str, Any]]


def _objects(path: Path, text: str) -> Iterator[Object]:
    match path.suffix.lower():
        case ".csv":
            return _from_csv(path, text)
        case ".json" | ".jsonl" | ".ndjson":
            return _from_json_list(path, text) if text.lstrip().startswith("[") else _from_json_lines(path, text)
        case _:
            raise UnreadableFileError(f"{path}: the name must end in .json, .jsonl or .csv")


def _from_json_list(path: Path, text: str) -> Iterator[Object]:
    try:
        items = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnreadableFileError(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}") from None
    for number, item in enumerate(items, 1):
        yield f"item {number}", _object(path, f"item {number}", item)


def _from_json_lines(path: Path, text: str) -> Iterator[Object]:
    # Not splitlines(): U+2028 and the like may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                item = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise UnreadableFileError(f"{path}: line {number}, column {error.colno}: {error.msg}") from None
            yield f"line {number}", _object(path, f"line {number}", item)


def _from_csv(path: Path, text: str) -> Iterator[Object]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise UnreadableFileError(f"{path}: line {reader.line_num}: {error}") from None


def _object(path: Path, place: str, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise UnreadableFileError(f'{path}: {place} is not an object like {{"text": ..., "true_sentiment": ...}}')
    return item


def _check_fields(path: Path, objects: list[Object], text_field: str, label_field: str) -> None:
    fields = {name: None for _, row in objects for name in row if name is not None}
    missing = [field for field in (text_field, label_field) if field not in fields]
    if missing:
        there = printable(", ".join(fields)) or "nothing"
        raise UnreadableFileError(
            f"{path}: no {' and no '.join(missing)}; there is: {there}; choose with --text-field and --label-field"
        )


def _check_values(path: Path, objects: list[Object], text_field: str, label_field: str) -> None:
    wrong = [
        f"{place}: {fault}"
        for place, row in objects
        if (fault := _fault(row, text_field, label_field, MAX_TEXT_CHARACTERS))
    ]
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise UnreadableFileError(f"{path}: {'; '.join(wrong[:SHOWN])}{more}")


def _fault(row: dict[str, Any], text_field: str, label_field: str, most: int) -> str | None:
    text, label = row.get(text_field), row.get(label_field)
    if not isinstance(text, str):
        return f"{text_field} is {'missing' if text is None else 'not a string'}"
    if all(unicodedata.category(character) in INVISIBLE for character in text):
        return f"{text_field} is empty"
    if len(text) > most:
        return f"{text_field} has {len(text)} characters, at most {most} are read"
    if "\0" in text:
        return f"{text_field} has a NUL character"
    if not isinstance(label, str) or not label:
        return f"{label_field} is {'missing' if label in (None, '') else 'not a string'}"
    return None
