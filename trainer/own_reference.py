"""A reference profile from anyone's file: the same model, held to the texts that it will really meet."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from broker.labelled import LabelledFile
from broker.manifest import live_version, read_reference, read_verified
from broker.text import describe, normalise
from trainer import projection
from trainer.data import DataError
from trainer.evaluation import accuracy, label_ids
from trainer.folder import next_version, now, write_version
from trainer.onnx_model import Classifier
from trainer.reference import profile
from trainer.served import classifier_of
from trainer.verify import require_sound

FEWEST = 100  # texts; ten bins of fewer say nothing


def renew(models: Path, name: str, file: LabelledFile) -> tuple[Path, float | None]:
    """Write the live version of model *name* once more, with the profile of the texts of *file*, as the next version.

    Returns its folder and the accuracy on the file. Without labels that is None, and the calibrator stays the one that
    the version has, if it has one.

    Raises:
        UnreadableFileError: the file cannot be read, or has a row that cannot be used.
        DataError: it has fewer than 100 texts.
        ModelRefusedError: there is no such model, or it is damaged.

    """
    live = models / name / live_version(models, name)
    manifest, files = read_verified(live)
    rows = list(file.rows(manifest.labels))
    if len(rows) < FEWEST:
        raise DataError(f"{file.path} holds {len(rows)} texts; a profile needs at least {FEWEST}")
    classifier = classifier_of(manifest.kind, files, manifest.max_length, manifest.normalisation)
    texts = [normalise(row.text, manifest.normalisation) for row in rows]
    probabilities = classifier.probabilities(texts)
    predicted = probabilities.argmax(axis=1)
    truth = [manifest.labels.index(row.label) for row in rows] if file.labelled else predicted.tolist()
    vocabulary = frozenset(files.get("vocabulary.txt", b"").decode().split("\n")) - {""}
    found = profile(
        statistics=[describe(row.text, vocabulary) for row in rows],
        tokens=classifier.tokens(texts),
        probabilities=probabilities,
        truth=truth,
        labels=manifest.labels,
        source=f"{file.path.name}, given by its owner: {len(rows)} texts",
        coordinates=_coordinates(classifier, texts, files),
    )
    if not file.labelled:
        before = read_reference(live).calibration if "reference.json" in files else None
        found = found.model_copy(update={"calibration": before})
    renewed = manifest.model_copy(update={"version": next_version(models, name), "created": now(), "files": {}})
    files["reference.json"] = found.model_dump_json(indent=2).encode() + b"\n"
    folder = write_version(models, renewed, files, require_sound)
    return folder, accuracy(label_ids(truth), predicted) if file.labelled else None


def _coordinates(classifier: Classifier, texts: list[str], files: Mapping[str, bytes]) -> NDArray[np.float64] | None:
    vectors = classifier.vectors(texts)
    if vectors is None or projection.FILE not in files:
        return None
    return projection.coordinates(vectors, np.load(io.BytesIO(files[projection.FILE]), allow_pickle=False))
