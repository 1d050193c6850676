"""Texts from a file of anyone's, most often with their labels: one reader for every command, and for the console.

Rows in are rows used and rows refused: each refused one is counted, and said with its place.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from broker.events import MAX_TEXT_CHARACTERS
from broker.folding import MOST_NAMES, Folded, plain, quoted, shown
from broker.tables import Asked, opened_table
from broker.text_files import MARK, UnreadableFileError, reading

SHOWN: Final = 5  # wrong rows that one line names
LISTED: Final = 100_000  # wrong rows that a list names
MOST_SEEN: Final = 1000
INVISIBLE: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})  # Unicode categories; the gateway calls such a text blank


class LabelledText(NamedTuple):
    """One text, its true label (empty where none was asked for), and where it stands ("line 3", "row 7")."""

    place: str
    text: str
    label: str


class LabelledFile:
    """A file whose form is known and whose columns are there; its rows are read once, as they are asked for.

    Raises:
        UnreadableFileError: one line that says what is wrong, and where.

    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self.path = path
        self.read = self.used = self.refused = 0
        self.wrong: list[str] = []  # of refused rows: the place and the fault, never a text
        self._skip_bad = asked.skip_bad
        self._mapping, self._map = asked.mapping, Folded(asked.mapping)
        self._known: Folded | None = None
        self._seen: set[str] = set()  # labels of used rows, as they are written there
        table = opened_table(path, asked)
        self.found = table.said
        self.columns = tuple(filter(None, table.columns))
        if repeated := sorted({name for name in self.columns if self.columns.count(name) > 1}):
            raise UnreadableFileError(f"{path}: several columns are called {shown(repeated)}; rename all but one")
        self._columns = Folded(self.columns)
        self._text, *labels = self._chosen(table.wanted)
        self._label = labels[0] if labels else None
        self._rows = table.rows(self._text, self._label, self._is_label)

    def rows(self, labels: Iterable[str] | None = None) -> Iterator[LabelledText]:
        """Yield the rows that can be used; where *labels* are given, those whose label is one of them.

        Raises:
            UnreadableFileError: at the end: rows are wrong and are not to be left out, or none can be used.

        """
        self._known = None if labels is None or self._label is None else Folded(labels)
        with reading(self.path):
            for row in self._rows:
                self.read += 1
                text, label = row.cells.get(self._text), ""
                fault = row.fault or self._fault_of_text(text)
                if not fault and self._label is not None:
                    label, fault = self._labelled(row.cells.get(self._label))
                if fault:
                    self.refused += 1
                    if self.refused <= LISTED:
                        self.wrong.append(f"{row.place}: {fault}")
                else:
                    self.used += 1
                    yield LabelledText(row.place, text or "", label)
        self._require_rows()

    @cached_property
    def sha256(self) -> str:
        """Of the bytes on disk."""
        with reading(self.path), self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def labelled(self) -> bool:
        """Labels were asked for."""
        return self._label is not None

    @property
    def counted(self) -> str:
        """Rows in, and what became of them."""
        return f"{self.read:,} rows read, {self.used:,} used, {self.refused:,} refused"

    def said(self) -> list[str]:
        """Say what was found, what was counted, and which names were read as another."""
        folded = [line for names in (self._columns, self._map, self._known) if names for line in names.said]
        return [f"{self.path}: {self.found}", self.counted, *folded]

    def list_refused(self, path: Path) -> list[str]:
        """Write the refused rows into *path*, a line each, and return a line that says so; remove an older list.

        Raises:
            UnreadableFileError: *path* cannot be written.

        """
        try:
            if not self.refused:
                path.unlink(missing_ok=True)
                return []
            more = [f"and {self.refused - LISTED:,} more"] if self.refused > LISTED else []
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([*self.wrong, *more, ""]), encoding="utf-8")
        except OSError as error:
            raise UnreadableFileError(f"{path}: {error.strerror}; the refused rows are listed there") from None
        return [f"refused rows: {path}"]

    def _chosen(self, wanted: Iterable[str]) -> list[str]:
        found = {name: self._columns.find(name) for name in wanted}
        missing = [name for name, there in found.items() if there is None]
        if missing and self.columns:
            absent = " and ".join(f"no {plain(name)}" for name in missing)
            there = ", ".join(map(plain, self.columns[:MOST_NAMES]))
            hint = "choose with --text and --label (without a header: --no-header, and numbers)"
            raise UnreadableFileError(f"{self.path}: {absent}; there is: {there}; {hint}")
        return [there or name for name, there in found.items()]

    def _fault_of_text(self, text: object) -> str:
        name = plain(self._text)
        if text is None or _nan(text):
            return f"{name} is missing"
        if not isinstance(text, str):
            return f"{name} is not a string"
        if all(unicodedata.category(character) in INVISIBLE for character in text):
            return f"{name} is empty"
        if len(text) > MAX_TEXT_CHARACTERS:
            return f"{name} has {len(text)} characters, at most {MAX_TEXT_CHARACTERS} are read"
        if "\0" in text:
            return f"{name} has a NUL character"
        return _broken(name, text)

    def _labelled(self, cell: object) -> tuple[str, str]:
        """Return the label that *cell* holds, as we call it, or what is wrong with it."""
        name = plain(self._label or "")
        match cell:
            case bool():
                label = str(cell).lower()
            case int() | str():
                label = str(cell).strip()
            case None:
                label = ""
            case _:
                return "", f"{name} is {'missing' if _nan(cell) else 'not a string, an integer or a boolean'}"
        if not label:
            return "", f"{name} is missing"
        if fault := _broken(name, label):
            return "", fault
        key = self._map.find(label)
        meant = label if key is None else self._mapping[key]
        known = meant if self._known is None else self._known.find(meant)
        if self._known is not None and known is None:
            return "", f"the label {quoted(meant)} is unknown; the labels are {shown(self._known.names)}"
        if len(self._seen) < MOST_SEEN:
            self._seen.add(label)
        return known or "", ""

    def _is_label(self, word: str) -> bool:
        return word in self._seen or word in self._mapping or (self._known is not None and word in self._known.names)

    def _require_rows(self) -> None:
        if not self.read:
            raise UnreadableFileError(f"{self.path}: there are no rows")
        if self.refused and (not self._skip_bad or not self.used):
            more = f"; and {self.refused - SHOWN:,} more" if self.refused > SHOWN else ""
            hint = "" if self._skip_bad else "; mend them, or leave them out with --skip-bad"
            raise UnreadableFileError(f"{self.path}: {self.counted}: {'; '.join(self.wrong[:SHOWN])}{more}{hint}")


def _nan(cell: object) -> bool:
    return cell != cell  # noqa: PLR0124 - as only NaN is, of whatever type


def _broken(name: str, text: str) -> str:
    if MARK in text:
        return f"{name} has bytes that are not of the file's encoding"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return f"{name} has half a character (a lone surrogate)"
    return ""
