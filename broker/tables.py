"""Tables in files of anyone's: which form a file has, and its rows."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

from broker.delimited import Delimited, open_delimited
from broker.folding import Folded
from broker.json_rows import Placed, open_json
from broker.text_files import Lines, UnreadableFileError, content_of, encoding_of, reading, text_of, unbroken

BATCH: Final = 1024  # rows of Parquet at a time
JSON: Final = frozenset({".json", ".jsonl", ".ndjson"})
DELIMITED: Final = frozenset({".csv", ".tsv", ".tab", ".txt"})
WORDS: Final = re.compile(r"[\s\",;|]+")


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a file is wanted, and what a person says of how it was written."""

    text: str = "text"
    label: str | None = None  # none: texts alone
    mapping: Mapping[str, str] = field(default_factory=dict)  # labels of the file to ours
    skip_bad: bool = False  # leave wrong rows out; otherwise one refuses the file
    encoding: str | None = None  # these: what cannot be said is found
    delimiter: str | None = None
    quotes: str | None = None
    header: bool = True  # the first row of delimited text names the columns; otherwise they are 1, 2, 3
    lines: bool = False  # where there is no such column, plain text and a single column are texts, too

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns that must be there."""
        return (self.text,) if self.label is None else (self.text, self.label)


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose form is known."""

    said: str
    columns: tuple[str, ...]
    wanted: tuple[str, ...]
    rows: Callable[[str, str | None, Callable[[str], bool]], Iterator[Placed]]  # the columns to read, what is a label


def opened_table(path: Path, asked: Asked) -> Table:
    """Find the form of *path*, by its name where that says it and by its beginning where not.

    Raises:
        UnreadableFileError: it cannot be read, or is empty.

    """
    file, packed = content_of(path)
    with file, reading(path):
        head = file.read(4)
    kinds = [suffix.lower() for suffix in path.suffixes[-2:]]
    kind = next((each for each in reversed(kinds) if each in JSON | DELIMITED | {".parquet"}), "")
    if kind == ".parquet" or head == b"PAR1":
        return _parquet(path, asked)
    encoding, written = encoding_of(path, asked.encoding)
    told = "".join(f", {each}" for each in (written, packed) if each)
    begins = _begins(path, encoding) if kind in {"", ".txt"} else ""
    if asked.lines and kind == ".txt" and asked.text.casefold() not in WORDS.split(begins.casefold()):
        return Table(f"plain text, one a line{told}", (), (asked.text,), lambda text, *_: _lines(path, encoding, text))
    if kind in JSON or begins.startswith(("{", "[")):
        found = open_json(path, encoding, asked.wanted)
        return Table(f"{found.said}{told}", found.columns, asked.wanted, lambda *_: found.rows)
    table = open_delimited(
        *(path, encoding),
        wanted=asked.wanted,
        delimiter=asked.delimiter,
        quotes=asked.quotes,
        header=asked.header,
    )
    wanted = asked.wanted
    if asked.lines and len(table.columns) == 1 and Folded(table.columns).find(asked.text) is None:
        table, wanted = replace(table, header=False, columns=("1",)), ("1",)
    return Table(f"{table.form.said}{told}", table.columns, wanted, partial(_cells, table))


def _begins(path: Path, encoding: str) -> str:
    """Return the first line that is not blank, or its beginning."""
    with text_of(path, encoding) as text:
        for line in unbroken(Lines(text)):
            if line.strip():
                return line.strip()
    return ""


def _lines(path: Path, encoding: str, column: str) -> Iterator[Placed]:
    with text_of(path, encoding) as text:
        lines = Lines(text)
        for line in unbroken(lines):
            if line.strip():
                yield Placed(f"line {lines.number}", {column: line.strip()})


def _cells(table: Delimited, text: str, label: str | None, is_label: Callable[[str], bool]) -> Iterator[Placed]:
    at = {name: table.columns.index(name) for name in (text, label) if name is not None}
    for row in table.rows(label, is_label):
        cells = {name: row.cells[place] for name, place in at.items() if place < len(row.cells)}
        yield Placed(f"line {row.line}", cells, row.fault)


def _parquet(path: Path, asked: Asked) -> Table:
    try:
        import pyarrow as pa  # noqa: PLC0415 only this form needs it, and not every room has it
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        hint = f"uv pip install --python {sys.executable} pyarrow"
        raise UnreadableFileError(f"{path}: is Parquet, for which pyarrow is missing; run: {hint}") from None

    @contextmanager
    def opened() -> Iterator[Any]:
        file, _ = content_of(path)
        try:
            with file, reading(path), parquet.ParquetFile(file) as table:
                yield table
        except (pa.ArrowException, ValueError, OverflowError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UnreadableFileError(f"{path}: cannot be read as Parquet: {reason[:200]}") from None

    def rows(text: str, label: str | None, _: object) -> Iterator[Placed]:
        with opened() as table:
            batches = table.iter_batches(BATCH, columns=list(dict.fromkeys(filter(None, (text, label)))))
            for number, cells in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1):
                yield Placed(f"row {number}", cells)

    with opened() as table:
        return Table("Parquet", tuple(table.schema_arrow.names), asked.wanted, rows)
