"""How often a version is right on texts with labels that somebody has in a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.labelled import LabelledFile
from broker.tables import Asked
from broker.text import normalise
from broker.text_files import UnreadableFileError
from worker.chunks import MOST_ROWS
from worker.models import Loaded, Scores
from worker.soundness import Check

NAME: Final = "your texts"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A file, and what of it is wanted."""

    file: Path
    asked: Asked


def judge(loaded: Loaded, labelled: Labelled) -> Check:
    """Return the share of right answers, and whether it reaches the version's target."""
    manifest = loaded.manifest
    wanted = f"accuracy of at least {manifest.target_accuracy:g}, the target of model.json"
    try:
        file = LabelledFile(labelled.file, labelled.asked)
        rows = list(file.rows(manifest.labels))
    except UnreadableFileError as error:
        return Check(NAME, str(error), wanted, passed=False)
    right = 0
    for start in range(0, len(rows), MOST_ROWS):
        part = rows[start : start + MOST_ROWS]
        found = loaded.model.predict([normalise(text, manifest.normalisation) for _, text, _ in part])
        right += sum(manifest.labels[_best(scores)] == label for (_, _, label), scores in zip(part, found, strict=True))
    accuracy = right / len(rows)
    return Check(NAME, f"accuracy {accuracy:.4f}; {file.counted}", wanted, accuracy >= manifest.target_accuracy)


def _best(scores: Scores) -> int:
    return max(range(len(scores.probabilities)), key=scores.probabilities.__getitem__)
