"""Which texts a model learns from, which choose the epoch, and which it is judged by."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from broker.text import Normalisation, normalise

TEST_BELOW = 15  # of 100 buckets
VALID_BELOW = 25

SAME_TEXT = Normalisation(unicode_form="NFC", lowercase=True, collapse_whitespace=True)


class Example(NamedTuple):
    """A text as it was written, and the id of its true label."""

    text: str
    label: int


class Splits(NamedTuple):
    """Three disjoint sets of examples: no text, normalised, is in two of them."""

    train: list[Example]
    valid: list[Example]
    test: list[Example]


def bucket_of(text: str) -> int:
    """Return the bucket 0..99 of *text*: the same for every spelling that differs only in case and whitespace."""
    return int(hashlib.sha1(normalise(text, SAME_TEXT).encode(), usedforsecurity=False).hexdigest(), 16) % 100


def split(examples: Iterable[Example]) -> Splits:
    """Share *examples* out by the hash of their text, so a new example never moves an old one."""
    splits = Splits([], [], [])
    for example in examples:
        bucket = bucket_of(example.text)
        part = splits.test if bucket < TEST_BELOW else splits.valid if bucket < VALID_BELOW else splits.train
        part.append(example)
    require_disjoint(splits)
    return splits


def joined(domains: Iterable[Splits]) -> Splits:
    """Return the splits of several data sets as one.

    A text that several hold counts once: for the test where one of them says so, else for the first.
    """
    found = list(domains)
    taken: set[str] = set()
    parts: dict[str, list[Example]] = {}
    for name in ("test", "valid", "train"):
        examples = [(normalise(each.text, SAME_TEXT), each) for splits in found for each in getattr(splits, name)]
        parts[name] = []
        for key, example in examples:
            if key not in taken:
                taken.add(key)
                parts[name].append(example)
    return Splits(**parts)


def normalised(splits: Splits, how: Normalisation) -> Splits:
    """Return *splits* with every text as a model with normalisation *how* sees it."""
    return Splits(*([Example(normalise(text, how), label) for text, label in part] for part in splits))


def require_disjoint(splits: Splits) -> None:
    """Refuse splits that share a text.

    Raises:
        ValueError: a text, normalised, is in two of them: the test figures would be too good.

    """
    keys = [{normalise(example.text, SAME_TEXT) for example in part} for part in splits]
    shared = (keys[0] & keys[1]) | (keys[0] & keys[2]) | (keys[1] & keys[2])
    if shared:
        raise ValueError(f"{len(shared)} texts are in two splits")


def digest(splits: Splits) -> str:
    """Return the sha256 of every split, label and normalised text, whatever their order."""
    lines = sorted(
        f"{name}\t{example.label}\t{normalise(example.text, SAME_TEXT)}\n"
        for name, part in zip(Splits._fields, splits, strict=True)
        for example in part
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
