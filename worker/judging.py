"""How often a version is right on texts with labels that somebody has in a file."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import ModelRefusedError
from broker.events import MAX_TEXT_CHARACTERS
from broker.text import normalise
from worker.chunks import MOST_ROWS
from worker.models import Loaded, Scores
from worker.soundness import Check

NAME: Final = "your texts"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A CSV file with a header, and the names of two of its columns."""

    file: Path
    text: str
    label: str

    def rows(self, labels: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """Yield each text with its label, which must be one of *labels*.

        Raises:
            ModelRefusedError: the file cannot be read, lacks a column, or has another label.

        """
        try:
            with self.file.open(encoding="utf-8-sig", newline="") as file:
                records = csv.DictReader(file)
                for name in (self.text, self.label):
                    if name not in (records.fieldnames or ()):
                        has = ", ".join(records.fieldnames or ()) or "no header"
                        raise ModelRefusedError(f"{self.file} has no column {name!r}; it has {has}")
                for number, record in enumerate(records, 1):
                    label = record[self.label] or ""
                    if label not in labels:
                        raise ModelRefusedError(
                            f"{self.file}: label {label[:40]!r} of record {number} is none of {', '.join(labels)}"
                        )
                    yield record[self.text] or "", label
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ModelRefusedError(f"{self.file} cannot be read as CSV in UTF-8: {error}") from error


def judge(loaded: Loaded, labelled: Labelled) -> Check:
    """Return the share of right answers, and whether it reaches the version's target."""
    manifest = loaded.manifest
    wanted = f"accuracy of at least {manifest.target_accuracy:g}, the target of model.json"
    try:
        rows = list(labelled.rows(manifest.labels))
    except ModelRefusedError as error:
        return Check(NAME, str(error), wanted, passed=False)
    # What the gateway would refuse says nothing of the version.
    fair = [(text, label) for text, label in rows if text.strip() and len(text) <= MAX_TEXT_CHARACTERS]
    if not fair:
        return Check(NAME, f"{labelled.file} has no text that could be asked", wanted, passed=False)
    right = 0
    for start in range(0, len(fair), MOST_ROWS):
        part = fair[start : start + MOST_ROWS]
        found = loaded.model.predict([normalise(text, manifest.normalisation) for text, _ in part])
        right += sum(manifest.labels[_best(scores)] == label for (_, label), scores in zip(part, found, strict=True))
    left = f", {len(rows) - len(fair)} empty or too long left out" if len(rows) > len(fair) else ""
    accuracy = right / len(fair)
    return Check(NAME, f"accuracy {accuracy:.4f} of {len(fair)}{left}", wanted, accuracy >= manifest.target_accuracy)


def _best(scores: Scores) -> int:
    return max(range(len(scores.probabilities)), key=scores.probabilities.__getitem__)
