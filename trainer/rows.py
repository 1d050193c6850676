"""A labelled text as a source has it."""

from typing import Literal, NamedTuple


class Row(NamedTuple):
    """A text, its label in words, and the part its publisher put it in, if there is one."""

    text: str
    label: str
    part: Literal["train", "test"] = "train"
