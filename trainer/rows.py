"""A labelled text as a source has it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from broker.labelled import LabelledFile, LabelledText
from broker.tables import Asked


class Row(NamedTuple):
    """A text, its label in words, the part its publisher put it in, and what the publisher called the label."""

    text: str
    label: str
    part: Literal["train", "test"] = "train"
    origin: str = ""  # set when labels are renamed


def of_file(path: Path, asked: Asked, refused: Path, labels: Sequence[str] | None = None) -> Iterator[LabelledText]:
    """Yield the rows of a file; then print what was found, and write the *refused* rows, if there are any.

    Raises:
        UnreadableFileError: it cannot be read, or has a row that cannot be used.

    """
    file = LabelledFile(path, asked)
    yield from file.rows(labels)
    print("\n".join([*file.said(), *file.list_refused(refused)]))
