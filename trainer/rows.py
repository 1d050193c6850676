"""A labelled text as a source has it."""

from typing import Literal, NamedTuple


class Row(NamedTuple):
    """A text, its label in words, the part its publisher put it in, and what the publisher called the label."""

    text: str
    label: str
    part: Literal["train", "test"] = "train"
    origin: str = ""  # set when labels are renamed
