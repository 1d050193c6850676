"""Texts out of a file that a person brings, by the one reader of files."""

from pathlib import Path
from typing import Final, NamedTuple

from broker.labelled import LabelledFile
from broker.tables import Asked
from broker.text_files import UnreadableFileError

MOST_TEXTS: Final = 2000


class UnreadableError(Exception):
    """The file holds no texts; the message says why."""


class Found(NamedTuple):
    """The texts of a file, and what is said of it: its form, its rows, and those that were left out."""

    texts: list[str]
    said: list[str]
    wrong: list[str]


def read_texts(path: Path, column: str = "text", *, skip_bad: bool = False) -> Found:
    """Return the texts of *path*: of the *column*, or where there is none, of its lines.

    Raises:
        UnreadableError: there are none, too many, or some that cannot be used and are not to be left out.

    """
    texts: list[str] = []
    try:
        file = LabelledFile(path, Asked(text=column.strip() or "text", skip_bad=skip_bad, lines=True))
        for row in file.rows():
            if len(texts) < MOST_TEXTS:
                texts.append(row.text.strip())
    except UnreadableFileError as error:
        raise UnreadableError(f"{_named(path, str(error))}.") from None
    if file.used > MOST_TEXTS:
        raise UnreadableError(f"This file has {file.used:,} texts; at most {MOST_TEXTS:,} are read here.")
    return Found(texts, [_named(path, line) for line in file.said()], file.wrong)


def _named(path: Path, said: str) -> str:
    """Leave the folder out: it is where uploads are."""
    return said.replace(str(path), path.name)
