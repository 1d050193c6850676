"""A data set by its name in params.yaml: labelled texts, none empty and none twice, and the digest of them all.

A source is a class of parameters in ``trainer.sources`` and a reader in ``trainer.readers``: parameters to rows.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from broker.errors import SettingsError
from broker.folding import Folded
from broker.text import normalise
from trainer.data import DataError
from trainer.params import Params
from trainer.readers import READERS
from trainer.rows import Row
from trainer.sources import Feedback, SourceParams, Split
from trainer.splits import SAME_TEXT, Example, Splits, bucket_of, split

COLLECTED: Final = re.compile(r"feedback:(?P<model>[^ ]+)( since (?P<since>[^ ]+))?")
VALID_SHARE = 10  # of 100 published training texts


@dataclass(frozen=True)
class Dataset:
    """Labelled texts under one name, in the order of their source."""

    name: str
    rows: tuple[Row, ...]
    digest: str  # sha256 of part, label and text of every row, whatever their order
    split: Split
    left_out: dict[str, int]  # why (empty, repeated, contradicted, other_label, sampled) to number of texts


def read_dataset(name: str, params: Params, cache: Path) -> Dataset:
    """Return the data set *name* of *params*; what must be downloaded is kept under *cache*.

    Raises:
        SettingsError: params.yaml has no such data set.
        DataError: it cannot be had, holds no labelled text, or is not the one that params.yaml pins.

    """
    source = params.datasets.get(name) or collected(name)
    if source is None:
        raise SettingsError(f"params.yaml has no data set {name!r}; it has {', '.join(params.datasets)}")
    left_out: Counter[str] = Counter()
    rows = tuple(prepared(READERS[source.source](source, params, cache), source, left_out))
    reasons = {why: count for why, count in left_out.items() if count}
    if not rows:
        raise DataError(f"data set {name} holds no labelled text; left out: {reasons or 'nothing'}")
    digest = digest_of_rows(rows)
    if source.digest not in {None, digest}:
        raise DataError(f"data set {name}: its digest is {digest}, params.yaml pins {source.digest}; one must change")
    return Dataset(name, rows, digest, source.split, reasons)


def collected(name: str) -> Feedback | None:
    """Return the data set that ``feedback:MODEL since DATE`` names, or None where *name* is no such name."""
    found = COLLECTED.fullmatch(name)
    try:
        return Feedback(source="feedback", **{k: v for k, v in found.groupdict().items() if v}) if found else None
    except ValidationError:
        return None


def prepared(rows: Iterable[Row], source: SourceParams, left_out: Counter[str]) -> list[Row]:
    """Return *rows* as *source* wants them, without repetitions: the first one counts, but a test row always does."""
    seen: dict[str, str] = {}
    kept = []
    for row in sorted(_cleaned(rows, source, left_out), key=lambda row: row.part != "test"):
        key = normalise(row.text, SAME_TEXT)
        if key in seen:
            left_out["repeated" if seen[key] == row.label else "contradicted"] += 1
            continue
        seen[key] = row.label
        kept.append(row)
    sample = _sample(kept, source.most_per_label)
    left_out["sampled"] += len(kept) - len(sample)
    return sample


def digest_of_rows(rows: Iterable[Row]) -> str:
    """Return the sha256 of *rows*, whatever their order."""
    lines = sorted(f"{row.part}\t{row.label}\t{row.text}\n" for row in rows)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def examples(dataset: Dataset, labels: Sequence[str]) -> list[Example]:
    """Return the texts of *dataset* for a model of *labels*, in order; how a label is written says nothing else.

    Raises:
        DataError: a text has a label that the model does not know.

    """
    known = Folded(labels)
    written = {label: known.find(label) for label in dict.fromkeys(row.label for row in dataset.rows)}
    print("".join(f"data set {dataset.name}: {line}\n" for line in known.said), end="")
    ids = {label: labels.index(found) for label, found in written.items() if found is not None}
    unknown = Counter(row.label for row in dataset.rows if row.label not in ids)
    if unknown:
        found = ", ".join(f"{label!r} ({count})" for label, count in unknown.most_common(5))
        raise DataError(f"data set {dataset.name} has labels that the model does not know: {found}; use relabel")
    return [Example(row.text, ids[row.label]) for row in dataset.rows]


def shared_out(dataset: Dataset, labels: Sequence[str]) -> Splits:
    """Return *dataset* in three parts, as its ``split`` says.

    Raises:
        DataError: a text has a label that the model does not know.

    """
    found = examples(dataset, labels)
    if dataset.split == "hash":
        return split(found)
    if dataset.split == "test":
        return Splits([], [], found)
    parts = [row.part for row in dataset.rows]
    train = [example for example, part in zip(found, parts, strict=True) if part == "train"]
    valid = [example for example in train if bucket_of(example.text) < VALID_SHARE]
    rest = [example for example in train if bucket_of(example.text) >= VALID_SHARE]
    return Splits(rest, valid, [example for example, part in zip(found, parts, strict=True) if part == "test"])


def _cleaned(rows: Iterable[Row], source: SourceParams, left_out: Counter[str]) -> Iterator[Row]:
    for row in rows:
        label = source.relabel.get(row.label) if source.relabel else row.label
        text = _excerpt(row.text.strip(), source)
        if label is None:
            left_out["other_label"] += 1
        elif not text:
            left_out["empty"] += 1
        else:
            yield Row(text, label, row.part, row.label)


def _excerpt(text: str, source: SourceParams) -> str:
    """Drop words, and keep the first few: how many, the hash of the text draws, so it is the same every time."""
    if source.drop_words:
        text = " ".join(word for word in text.split() if word.lower() not in source.drop_words)
    if source.excerpt is not None:
        fewest, most = source.excerpt
        words = text.split()
        text = " ".join(words[: fewest + _draw(text) % (most - fewest + 1)])
    return text


def _sample(rows: Sequence[Row], most: int | None) -> list[Row]:
    """Return at most *most* rows of each label, those of the lowest draw, in the order they came.

    Where several of the source's labels became one of ours, each of them is drawn from in turn.
    """
    if most is None:
        return list(rows)
    turns: Counter[str] = Counter()
    queue = []
    for row in sorted(rows, key=lambda row: _draw(row.text)):
        queue.append((turns[row.origin], row))
        turns[row.origin] += 1
    taken: Counter[str] = Counter()
    chosen = set()
    for _, row in sorted(queue, key=lambda each: each[0]):
        taken[row.label] += 1
        if taken[row.label] <= most:
            chosen.add(row.text)
    return [row for row in rows if row.text in chosen]


def _draw(text: str) -> int:
    """Return a number that only *text* decides; not the hash that shares texts out to the splits."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
