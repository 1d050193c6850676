"""A file of labelled texts that anyone made: CSV with a header, JSON lines, or Parquet."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.data import DataError
from trainer.rows import Row


def rows(path: Path, *, text: str, label: str | None) -> Iterator[Row]:
    """Yield the rows of *path*, whose columns *text* and *label* are named; without *label* every label is empty.

    Raises:
        DataError: the file cannot be read, or has no such column.

    """
    for number, record in enumerate(_records(path), start=1):
        for column in filter(None, (text, label)):
            if column not in record:
                raise DataError(f"{path} has no column {column!r} in record {number}; it has {_names(record)}")
        yield Row(_word(record[text]), _word(record[label]).strip() if label else "")


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    form = {".csv": _csv, ".tsv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}
    reader = form.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: the name must end in {', '.join(form)}")
    try:
        yield from reader(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (csv.Error, ValueError) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        if not reader.fieldnames:
            raise DataError(f"{path} is empty; its first line must name the columns")
        yield from reader


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number}: not JSON ({error.msg})") from error
            if not isinstance(record, dict):
                raise DataError(f"{path}, line {number}: not a JSON object")
            yield record


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow.parquet  # noqa: PLC0415 only this form needs it

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


def _word(value: object) -> str:
    """Return a cell as text: nothing for null, ``1`` for 1.0 would be a guess and is not made."""
    return "" if value is None else str(value)


def _names(record: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) for name in record) or "none"
