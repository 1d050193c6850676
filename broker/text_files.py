"""A file of anyone's as text: unpacked, its encoding found, its lines numbered, never more of it than one record."""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TextIO

from broker.errors import ObservaError

MOST_RECORD: Final = 1 << 20  # characters of one line or one record; a text has at most 10,000
CHUNK: Final = 1 << 20
SAMPLE: Final = 1 << 16
MARK: Final = "\udcff"  # stands where bytes are none of the file's encoding; no file can hold it as a character
MARKED: Final = "observa-marked"
PACKED: Final[dict[bytes, tuple[str, Callable[[Path], Any]]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\x00": ("xz", lzma.open),
}
BOMS: Final = {  # the longer ones first: UTF-32's begins as UTF-16's does
    codecs.BOM_UTF32_LE: ("utf-32", "UTF-32"),
    codecs.BOM_UTF32_BE: ("utf-32", "UTF-32"),
    codecs.BOM_UTF8: ("utf-8-sig", "UTF-8 with a byte order mark"),
    codecs.BOM_UTF16_LE: ("utf-16", "UTF-16"),
    codecs.BOM_UTF16_BE: ("utf-16", "UTF-16"),
}
HIGH_RUNS: Final = re.compile(rb"[\x80-\xff]+")
LONG_RUN: Final = 3  # bytes beyond ASCII side by side: rare in Western European words, the rule in other scripts

codecs.register_error(MARKED, lambda error: (MARK, error.end))  # type: ignore[attr-defined]  # a UnicodeDecodeError


class UnreadableFileError(ObservaError):
    """A file of texts is not what it should be; one line says what, where, and what to do."""


def content_of(path: Path) -> tuple[IO[bytes], str]:
    """Open *path*, unpacked if it is packed, and say by what; the caller closes it.

    Raises:
        UnreadableFileError: there is no such file, it is a folder, a device, or a zip archive.

    """
    try:
        if path.exists() and not path.is_file():
            raise UnreadableFileError(f"{path}: is {'a folder' if path.is_dir() else 'no regular file'}; name a file")
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith(b"PK\x03\x04"):
            raise UnreadableFileError(
                f"{path}: is a zip archive or an Excel workbook; unpack it, or save the sheet as CSV UTF-8"
            )
        for magic, (name, opened) in PACKED.items():
            if head.startswith(magic):
                return opened(path), name
        return path.open("rb"), ""
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say in one line whatever reading *path* fails with."""
    try:
        yield
    except (OSError, EOFError, UnicodeError, zlib.error, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableFileError(f"{path}: cannot be read: {reason}") from None


def encoding_of(path: Path, named: str | None = None) -> tuple[str, str]:
    """Return Python's name of the encoding of *path*, and ours; *named* is what a person says that it is.

    Raises:
        UnreadableFileError: it is none of UTF-8, UTF-16, UTF-32 and cp1252, or *named* is no encoding.

    """
    if named:
        try:
            "".encode(named)
        except (LookupError, ValueError):
            raise UnreadableFileError(f"{path}: there is no encoding {named!r}; such as cp1251, shift_jis") from None
        return named, named
    file, _ = content_of(path)
    with file, reading(path):
        head = file.read(SAMPLE)
        for mark, found in BOMS.items():
            if head.startswith(mark):
                return found
        if wide := _wide(head):
            return wide
        file.seek(0)
        if _is_utf8(file):
            return "utf-8", "UTF-8"
        file.seek(0)
        return _narrow(path, file)


def _wide(head: bytes) -> tuple[str, str] | None:
    """Return UTF-16 where every other byte is 0 but for a few letters, and there is no mark."""
    pairs = len(head) // 2
    for name, zeros, others in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if pairs and zeros.count(0) > pairs / 2 and others.count(0) < pairs / 10:
            return name, "UTF-16"
    return None


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _is_utf8(file: IO[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in _chunks(file):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _narrow(path: Path, file: IO[bytes]) -> tuple[str, str]:
    """Tell UTF-8 with damaged places from cp1252: by what most of the bytes beyond ASCII are."""
    decoder = codecs.getincrementaldecoder("utf-8")(MARKED)
    right = wrong = high = in_long_runs = 0
    for chunk in _chunks(file):
        text = decoder.decode(chunk)
        marks = text.count(MARK)
        right += len(text) - len(text.encode("ascii", "ignore")) - marks
        wrong += marks
        runs = HIGH_RUNS.findall(chunk)
        high += sum(map(len, runs))
        in_long_runs += sum(len(run) for run in runs if len(run) >= LONG_RUN)
    if right > wrong:
        return "utf-8", "UTF-8, damaged in places"
    if in_long_runs > high / 2:
        raise UnreadableFileError(
            f"{path}: is neither UTF-8 nor UTF-16 nor cp1252; save it as UTF-8, or say --encoding"
        )
    return "cp1252", "cp1252, since it is not UTF-8 (another: --encoding)"


@contextmanager
def text_of(path: Path, encoding: str, newline: str = "") -> Iterator[TextIO]:
    """Open *path* as text, with its line ends as they are and `MARK` where a byte is none of the encoding.

    Lines end with *newline*; with CR, LF or CR LF where that is empty.
    """
    file, _ = content_of(path)
    with reading(path), io.TextIOWrapper(file, encoding, MARKED, newline=newline) as text:
        yield text


class Lines:
    """The lines of a text, numbered from 1, those of the record that is being read ready to be given again.

    What ends a line is the text's to say; U+2028, NEL and form feeds are characters like others.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self.number = 0  # of the last line
        self.taken: list[str] = []  # since the record began
        self._size = 0  # characters of these

    def begin(self) -> int:
        """Begin a record; return the number of its first line."""
        self.taken, self._size = [], 0
        return self.number + 1

    def give_again(self, kept: int = 1) -> None:
        """Give all lines of the record but the first *kept* once more."""
        again = self.taken[kept:]
        self._again.extendleft(reversed(again))
        self.number -= len(again)

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        """Return the next line with its end.

        Raises:
            csv.Error: the record becomes too long; what of it is in this line was skipped.

        """
        line = self._again.popleft() if self._again else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        self._size += len(line)
        if self._size > MOST_RECORD:
            raise csv.Error("too long")
        return line

    def _read(self) -> str:
        line = piece = self._text.readline(MOST_RECORD + 1)
        while len(piece) > MOST_RECORD and not piece.endswith(("\r", "\n")):
            piece = self._text.readline(MOST_RECORD + 1)
        return line


def unbroken(lines: Lines) -> Iterator[str]:
    """Yield lines, those that are too long cut off."""
    while True:
        lines.begin()
        try:
            yield next(lines)
        except StopIteration:
            return
        except csv.Error:
            yield lines.taken[0]
