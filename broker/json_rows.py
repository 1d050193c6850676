"""Rows out of JSON: an object a line, a list, or a table in one of pandas' orientations."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from broker.text_files import MOST_RECORD, Lines, UnreadableFileError, text_of, unbroken

MOST_DOCUMENT: Final = 256 << 20  # characters of JSON that is one document: it can only be read whole
PEEKED: Final = 100  # rows whose fields are the columns
BLANK: Final = " \t\r\n"


class Placed(NamedTuple):
    """One row: where it is, its fields, or what is wrong with it."""

    place: str
    cells: Mapping[str, Any]
    fault: str = ""


class Json(NamedTuple):
    """The rows of a file, and the names of the fields of the first ones."""

    said: str
    columns: tuple[str, ...]
    rows: Iterator[Placed]


class _Repeated(dict[str, Any]):
    """An object that names a field twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(found)


_SPACE: Final = re.compile(r"[ \t\r\n]*")
_decoder: Final = json.JSONDecoder(object_pairs_hook=_object)


def open_json(path: Path, encoding: str, wanted: Sequence[str]) -> Json:
    """Open *path*, of whose rows the fields *wanted* are read; where that is one, items may be strings.

    Raises:
        UnreadableFileError: it is no JSON, or larger than what can be read whole.

    """
    if _by_line(path, encoding):
        said, rows = "JSON lines", _lines(path, encoding, wanted)
    else:
        said, rows = _document(path, _whole(path, encoding), wanted)
    first = list(islice(rows, PEEKED))
    columns = dict.fromkeys(name for row in first for name in row.cells)
    return Json(said, tuple(columns), chain(first, rows))


def _by_line(path: Path, encoding: str) -> bool:
    """Tell values on lines of their own from a document, by the name and the first two lines."""
    with text_of(path, encoding) as file:
        lines = (line.strip(BLANK) for line in unbroken(Lines(file)))
        first = next(filter(None, lines), "")
        second = next(filter(None, lines), "")
    if not first:
        raise UnreadableFileError(f"{path}: the file is empty")
    if first.startswith("["):
        return first.endswith("]") and second.startswith("[")
    named = {".jsonl", ".ndjson"} & {suffix.lower() for suffix in path.suffixes}
    return bool(named) or second.startswith("{") or (first.endswith("}") and second != "")


def _lines(path: Path, encoding: str, wanted: Sequence[str]) -> Iterator[Placed]:
    with text_of(path, encoding) as file:
        lines = Lines(file)
        for line in unbroken(lines):
            place = f"line {lines.number}"
            if len(line) > MOST_RECORD:
                yield Placed(place, {}, f"is longer than {MOST_RECORD:,} characters")
            elif line.strip(BLANK):
                try:
                    yield _row(place, _decoder.decode(line), wanted)
                except json.JSONDecodeError as error:
                    yield Placed(place, {}, f"column {error.colno}: {error.msg}")
                except (ValueError, RecursionError) as error:
                    yield Placed(place, {}, f"is no JSON that can be read ({type(error).__name__})")


def _whole(path: Path, encoding: str) -> str:
    with text_of(path, encoding) as file:
        found = file.read(MOST_DOCUMENT + 1)
    if len(found) > MOST_DOCUMENT:
        raise UnreadableFileError(
            f"{path}: is a JSON document of more than {MOST_DOCUMENT >> 20} MB; write JSON lines, CSV or Parquet"
        )
    return found


def _document(path: Path, whole: str, wanted: Sequence[str]) -> tuple[str, Iterator[Placed]]:
    start = _skipped(whole, 0)
    if whole[start : start + 1] == "[":
        return "JSON list", _items(path, whole, start + 1, wanted)
    value, end = _decoded(path, whole, start)
    _require_end(path, whole, end)
    if not isinstance(value, dict):
        raise UnreadableFileError(f"{path}: is JSON, but neither a list nor an object")
    if any(isinstance(each, _Repeated) for each in (value, *value.values())):
        raise UnreadableFileError(f"{path}: names a field twice")
    said, rows = _table(path, value, {name.casefold() for name in wanted})
    return said, (_row(f"row {number}", row, wanted) for number, row in enumerate(rows, 1))


def _items(path: Path, whole: str, at: int, wanted: Sequence[str]) -> Iterator[Placed]:
    """Yield the items of a list one by one, each with the line on which it begins."""
    line, counted, number = 1, 0, 0
    at = _skipped(whole, at)
    while whole[at : at + 1] != "]":
        number += 1
        line, counted = line + whole.count("\n", counted, at), at
        item, at = _decoded(path, whole, at)
        yield _row(f"line {line}, item {number}", item, wanted)
        at = _skipped(whole, at)
        if whole[at : at + 1] == ",":
            at = _skipped(whole, at + 1)
        elif whole[at : at + 1] != "]":
            raise _broken(path, json.JSONDecodeError("expected ',' or ']'", whole, at))
    _require_end(path, whole, at + 1)


def _table(path: Path, value: dict[str, Any], wanted: AbstractSet[str]) -> tuple[str, Iterable[Any]]:
    """Tell pandas' orientations apart by their shape, and columns from index by the names that are wanted."""
    columns, data, inner = value.get("columns"), value.get("data"), list(value.values())
    if isinstance(data, list):
        if not isinstance(columns, list):
            return "JSON table", data
        if repeated := {str(name) for name in columns if columns.count(name) > 1}:
            raise UnreadableFileError(f"{path}: several columns are called {', '.join(map(repr, repeated))}")
        names = [str(name) for name in columns]
        rows = (
            dict(zip(names, row, strict=False)) if isinstance(row, list) and len(row) <= len(names) else row
            for row in data
        )
        return "JSON with columns beside rows", rows
    if inner and all(isinstance(each, list) for each in inner):
        if len({len(each) for each in inner}) > 1:
            raise UnreadableFileError(f"{path}: is JSON whose columns differ in length")
        return "JSON by columns", (dict(zip(value, row, strict=True)) for row in zip(*inner, strict=True))
    if inner and all(isinstance(each, dict) for each in inner):
        if wanted & {name.strip().casefold() for name in value}:
            keys = dict.fromkeys(chain.from_iterable(inner))
            return "JSON by columns", ({name: each.get(key) for name, each in value.items()} for key in keys)
        return "JSON by rows", inner
    return "JSON object", [value] if value else []


def _row(place: str, item: object, wanted: Sequence[str]) -> Placed:
    match item:
        case _Repeated():
            return Placed(place, {}, "names a field twice")
        case dict():
            return Placed(place, item)
        case list():
            return Placed(place, {str(number): cell for number, cell in enumerate(item, 1)})
        case str() if len(wanted) == 1:
            return Placed(place, {wanted[0]: item})
        case _:
            fields = ", ".join(f'"{name}": ...' for name in wanted)
            return Placed(place, {}, f"is not an object like {{{fields}}}")


def _decoded(path: Path, whole: str, at: int) -> tuple[Any, int]:
    try:
        return _decoder.raw_decode(whole, at)
    except json.JSONDecodeError as error:
        raise _broken(path, error) from None
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(f"{path}: is no JSON that can be read ({type(error).__name__})") from None


def _broken(path: Path, error: json.JSONDecodeError) -> UnreadableFileError:
    return UnreadableFileError(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}")


def _require_end(path: Path, whole: str, at: int) -> None:
    at = _skipped(whole, at)
    if at < len(whole):
        raise _broken(path, json.JSONDecodeError("text follows the end of the JSON", whole, at))


def _skipped(whole: str, at: int) -> int:
    """Return where the next character is that is not blank."""
    return _SPACE.match(whole, at).end()  # type: ignore[union-attr]  # it always matches
