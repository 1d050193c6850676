"""Tables of delimited text as spreadsheets, databases and pandas write them: what parts cells, what quotes mean."""

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from broker.text_files import MOST_RECORD, Lines, UnreadableFileError, text_of

DELIMITERS: Final = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
QUOTES: Final[dict[str, dict[str, Any]]] = {  # how a cell may hold the delimiter; ours to those of the csv module
    "double": {"quotechar": '"'},
    "backslash": {"quotechar": '"', "escapechar": "\\"},
    "single": {"quotechar": "'"},
    "none": {"quoting": csv.QUOTE_NONE},
    "escaped": {"quoting": csv.QUOTE_NONE, "escapechar": "\\"},
}
SAID: Final = {
    "double": "",
    "backslash": ", quotes within cells after a backslash",
    "single": ", single quotes around cells",
    "none": ", quotes are characters of the texts (otherwise: --quotes double)",
    "escaped": ", delimiters within cells after a backslash",
}
OPEN: Final = "a quote opens here that is not closed (where quotes are characters of the texts: --quotes none)"
SAMPLE: Final = 4 << 20  # characters by which the form is found
SEVERAL: Final = 3  # literal quotes; fewer may be slips
CR: Final = "\udc0d"  # stands for a lone CR while the csv module reads
EXCEL: Final = re.compile(r"sep=([^\"'\\\r\n])\r?\n?")  # a first line with which Excel is told the delimiter


class Form(NamedTuple):
    """What parts the cells of a row, and what quotes mean."""

    delimiter: str
    quotes: str
    newline: str  # LF, and a lone CR is a character; or empty: CR, LF and CR LF all end a line

    @property
    def said(self) -> str:
        """The form in words."""
        return f"CSV, {DELIMITERS.get(self.delimiter, repr(self.delimiter))}{SAID[self.quotes]}"


class Numbered(NamedTuple):
    """The cells of a row, or what is wrong with it, and the line on which it begins."""

    line: int
    cells: list[str]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Delimited:
    """A table of delimited text, its form known."""

    path: Path
    encoding: str
    form: Form
    columns: tuple[str, ...]
    header: bool  # the first row names the columns

    def rows(self, label: str | None, is_label: Callable[[str], bool]) -> Iterator[Numbered]:
        """Yield every row below the header; one with more cells than there are columns has a fault.

        A row of several lines of which the first and another are rows by themselves, each with a *label* that
        *is_label* knows, is none: a quote was left open on one line, and happened to be closed on another.
        """
        at = self.columns.index(label) if label in self.columns else None
        with text_of(self.path, self.encoding, self.form.newline) as text:
            lines = _after_excel(text)
            found = _rows(lines, self.form)
            if self.header:
                next(found, None)
            for row in found:
                if len(lines.taken) > 1 and not row.fault and self._open(lines.taken, at, is_label):
                    lines.give_again()
                    yield Numbered(row.line, [], OPEN)
                elif any(row.cells[len(self.columns) :]):
                    fault = f"has {len(row.cells)} cells, and there are {len(self.columns)} columns"
                    yield row._replace(fault=fault)
                else:
                    yield row

    def _open(self, taken: Sequence[str], at: int | None, is_label: Callable[[str], bool]) -> bool:
        if at is None:
            return False
        first, *others = (self._whole(line, at, is_label) for line in taken)
        return first and any(others)

    def _whole(self, line: str, at: int, is_label: Callable[[str], bool]) -> bool:
        cells = [cell.strip(' "\r\n') for cell in line.split(self.form.delimiter)]
        most = len(self.columns)
        return len(cells) >= most and (is_label(cells[at]) or is_label(cells[at - most]))


def open_delimited(  # noqa: PLR0913 by name only
    path: Path,
    encoding: str,
    *,
    wanted: Collection[str],
    delimiter: str | None = None,
    quotes: str | None = None,
    header: bool = True,
) -> Delimited:
    """Find the form of *path*; columns that are *wanted* speak for a form that has them.

    Raises:
        UnreadableFileError: it is empty, or its first row cannot be read.

    """
    csv.field_size_limit(MOST_RECORD)
    with text_of(path, encoding) as text:
        sample = _sample(text)
    if not sample.strip():
        raise UnreadableFileError(f"{path}: the file is empty")
    told = EXCEL.match(sample)
    delimiters = [delimiter] if delimiter else [told[1]] if told else _likely(path)
    newline = "" if sample.partition("\n")[0].rstrip("\r").count("\r") else "\n"
    sought = {name.strip().casefold() for name in wanted}
    form = min(
        (
            _tried(sample, Form(each, kind, newline), sought, header=header)
            for each in delimiters
            for kind in ([quotes] if quotes else QUOTES)
            if quotes or _may(sample, Form(each, kind, newline))
        ),
        key=lambda tried: tried.rank,
    ).form
    first = next(_rows(_after_excel(io.StringIO(sample, newline=newline)), form))
    if first.fault:
        raise UnreadableFileError(f"{path}: line {first.line}: {first.fault}")
    return Delimited(path, encoding, form, _columns(first.cells, header=header), header)


def _sample(text: TextIO) -> str:
    found = text.read(SAMPLE)
    whole = max(found.rfind("\n"), found.rfind("\r")) + 1
    return found[:whole] if len(found) == SAMPLE and whole else found


def _likely(path: Path) -> list[str]:
    return sorted(DELIMITERS, key="\t".__ne__) if {".tsv", ".tab"} & set(path.suffixes) else list(DELIMITERS)


def _columns(first: Sequence[str], *, header: bool) -> tuple[str, ...]:
    return tuple(first) if header else tuple(str(number) for number, _ in enumerate(first, 1))


def _after_excel(text: TextIO) -> Lines:
    lines = Lines(text)
    try:
        told = EXCEL.fullmatch(next(lines, ""))
    except csv.Error:
        told = None
    if told is None:
        lines.give_again(0)
    return lines


def _may(sample: str, form: Form) -> bool:
    """Tell whether the sample has a sign of the form; doubled quotes need none."""
    match form.quotes:
        case "backslash":
            return '\\"' in sample
        case "escaped":
            return f"\\{form.delimiter}" in sample
        case "single":
            parts = f"(?:^|{re.escape(form.delimiter)})"
            cells = len(re.findall(f"{parts}'[^\n]*?'(?={parts}|$)", sample, re.MULTILINE))
            return sample.startswith("'") or SEVERAL <= cells > len(re.findall(f'{parts}"', sample, re.MULTILINE))
        case "none":  # between commas an open quote is a slip; between tabs it may be part of a text
            return form.delimiter == "\t" and _literal(sample, form)
        case _:
            return True


def _literal(sample: str, form: Form) -> bool:
    """Tell whether more rows have quotes that are wrong as quotes, or stand within a cell, than cells in quotes."""
    lines = Lines(io.StringIO(sample, newline=form.newline))
    cell_in_quotes = re.compile(f'(^|{re.escape(form.delimiter)})"', re.MULTILINE)
    literal = quoted = 0
    for row in _rows(lines, form._replace(quotes="double")):
        raw = "".join(lines.taken)
        if row.fault or ('"' in raw and not cell_in_quotes.search(raw)):
            literal += 1
        elif '"' in raw:
            quoted += 1
    return literal >= SEVERAL and literal > quoted


class _Tried(NamedTuple):
    """A form, and how well it fits the sample; the lower the better."""

    rank: tuple[int, bool, int]  # wanted columns found, negative; has one column only; rows with faults
    form: Form


def _tried(sample: str, form: Form, sought: Collection[str], *, header: bool) -> _Tried:
    rows = _rows(_after_excel(io.StringIO(sample, newline=form.newline)), form)
    columns = _columns(next(rows).cells, header=header)
    there = {column.strip().casefold() for column in columns} & set(sought)
    faults = sum(bool(row.fault) or len(row.cells) != len(columns) for row in rows)
    return _Tried((-len(there), len(columns) < 2, faults), form)  # noqa: PLR2004 - one is no table


def _rows(lines: Lines, form: Form) -> Iterator[Numbered]:
    """Yield every row that is not blank. After a wrong quote reading goes on at the next line: none is swallowed."""
    reader = csv.reader(
        map(_hidden, lines) if form.newline else lines, delimiter=form.delimiter, strict=True, **QUOTES[form.quotes]
    )
    while True:
        line = lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Numbered(line, [], _fault(str(error), len(lines.taken)))
            lines.give_again()
        else:
            if cells:
                yield Numbered(line, [cell.replace(CR, "\r") for cell in cells] if form.newline else cells)


def _hidden(line: str) -> str:
    """Hide every CR of *line* but that before its end: the csv module takes any for an end."""
    body = line.removesuffix("\n").removesuffix("\r")
    return body.replace("\r", CR) + line[len(body) :] if "\r" in body else line


def _fault(said: str, lines: int) -> str:
    if lines > 1 or "end of data" in said:
        return OPEN
    if "expected after" in said:
        return "text follows a closing quote; within quotes, write a quote twice"
    return f"is longer than {MOST_RECORD:,} characters"
