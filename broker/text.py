"""What is counted in a text, and how a text is normalised: the same for trainer, worker and monitor."""

import re
import unicodedata
from collections.abc import Set as AbstractSet
from typing import Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
NO_LETTERS = re.compile(r"[\W\d_]+")
# What a model of words takes for one. ``ascii``, without word boundaries, is the one kind that ONNX Runtime's tokenizer
# splits as Python's `re` does; ``two_or_more`` is scikit-learn's own.
TOKENS: Final = {
    "ascii": re.compile("[a-zA-Z0-9]+"),
    "word": re.compile(r"\w+"),
    "two_or_more": re.compile(r"\b\w\w+\b"),
}


class Normalisation(BaseModel):
    """How a text is changed before a model sees it; stored in the model folder, applied by the worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unicode_form: Literal["NFC", "NFKC"] | None = "NFC"
    lowercase: bool = False
    only_letters: bool = False  # any run of other characters becomes one space: for texts that came to us that way
    collapse_whitespace: bool = True


class TextStatistics(NamedTuple):
    """Counts that say something of a text without repeating it."""

    characters: int
    words: int
    oov_ratio: float  # share of words that the training text did not contain; 0 for no words
    non_latin_ratio: float = 0.0  # share of letters outside the Latin script; 0 for no letters


def normalise(text: str, how: Normalisation) -> str:
    """Apply *how* to *text*: Unicode form, then lower case, then letters only, then runs of whitespace to one space."""
    if how.unicode_form and not text.isascii():
        text = unicodedata.normalize(how.unicode_form, text)
    if how.lowercase:
        text = text.lower()
    if how.only_letters:
        text = NO_LETTERS.sub(" ", text)
    if how.collapse_whitespace:
        text = " ".join(text.split())
    return text


def words_of(text: str) -> list[str]:
    """Return the lower-case words of *text*: runs of letters, digits and inner apostrophes."""
    return WORD.findall(text.lower())


def describe(text: str, vocabulary: AbstractSet[str]) -> TextStatistics:
    """Count characters and words of the text as received, and the share of words outside *vocabulary*.

    An empty vocabulary means that none was recorded: then nothing is unknown.
    """
    words = words_of(text)
    unknown = len(words) - sum(map(vocabulary.__contains__, words)) if vocabulary else 0
    return TextStatistics(len(text), len(words), unknown / len(words) if words else 0.0, _non_latin(text))


def _non_latin(text: str) -> float:
    """Return the share of letters whose Unicode name is not that of a Latin letter; ASCII needs no look-up."""
    if text.isascii():
        return 0.0
    letters = [letter for letter in text if letter.isalpha()]
    foreign = sum(not (letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")) for letter in letters)
    return foreign / len(letters) if letters else 0.0
