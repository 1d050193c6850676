"""Judge a candidate on texts it never saw, write it as a version, and say so in MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from broker.manifest import ModelManifest
from broker.text import describe, normalise, words_of
from trainer import golden, projection
from trainer.calibrate import calibration_error
from trainer.candidate import Candidate
from trainer.evaluation import accuracy, f1_macro, label_ids
from trainer.folder import code_revision, now, write_version
from trainer.lock import digests
from trainer.onnx_model import Probabilities
from trainer.params import LinearParams, TransformerParams
from trainer.reference import profile
from trainer.splits import Example, Splits, digest
from trainer.verify import require, require_sound


def measure(candidate: Candidate, tests: Mapping[str, Sequence[Example]], labels: int) -> dict[str, float]:
    """Return the figures on each of *tests*, by name; the first is what the model was made for and has no name here."""
    metrics = dict(candidate.metrics)
    for position, (domain, examples) in enumerate(tests.items()):
        truth = label_ids([example.label for example in examples])
        probabilities = _answers(candidate, examples)
        predicted = probabilities.argmax(axis=1)
        suffix = "" if position == 0 else f"_{domain}"
        metrics[f"calibration_error{suffix}"] = calibration_error(probabilities.max(axis=1), truth == predicted)
        metrics[f"accuracy{suffix}"] = accuracy(truth, predicted)
        if len(set(truth.tolist())) == labels:  # else a mean over all of them would say little
            metrics[f"f1_macro{suffix}"] = f1_macro(truth, predicted, labels)
        metrics[f"test_count{suffix}"] = len(examples)
    return metrics


def register(  # noqa: PLR0913 by name only
    *,
    models: Path,
    name: str,
    version: str,
    params: TransformerParams | LinearParams,
    candidate: Candidate,
    splits: Splits,
    metrics: dict[str, float],
) -> tuple[Path, ModelManifest]:
    """Write the version and return its folder and manifest.

    Raises:
        NotGoodEnoughError: the accuracy is below the target, so the alarm would ring from the start; or the worker,
            which tries the version, would refuse it.
        VersionExistsError: the version is there already.

    """
    require("accuracy on the test texts", metrics["accuracy"], params.target_accuracy)
    vocabulary = sorted({word for example in splits.train for word in words_of(example.text)})
    manifest = ModelManifest(
        name=name,
        version=version,
        kind=params.kind,
        labels=params.labels,
        max_length=params.max_length,
        normalisation=candidate.normalisation,
        target_accuracy=params.target_accuracy,
        metrics=metrics,
        data_digest=digest(splits),
        code_revision=code_revision(),
        created=now(),
        lock=digests(name),
        files={},
    )
    vectors = candidate.classifier.vectors(_normalised(candidate, splits.valid))
    directions = None if vectors is None else projection.fit(vectors)
    reference = profile(
        statistics=[describe(example.text, frozenset(vocabulary)) for example in splits.valid],
        tokens=candidate.classifier.tokens(_normalised(candidate, splits.valid)),
        probabilities=_answers(candidate, splits.valid),
        truth=[example.label for example in splits.valid],
        labels=params.labels,
        source=f"validation split of {', '.join(params.train_on)}: not fitted on, but it chose the epoch",
        coordinates=None if vectors is None or directions is None else projection.coordinates(vectors, directions),
    )
    files = candidate.files | {
        "vocabulary.txt": "".join(f"{word}\n" for word in vocabulary).encode(),
        "reference.json": reference.model_dump_json(indent=2).encode() + b"\n",
        golden.FILE: golden.choose(golden.MADE_UP, _scores(candidate, golden.MADE_UP)),
    }
    if directions is not None:
        files[projection.FILE] = projection.to_bytes(directions)
    folder = write_version(models, manifest, files, require_sound)
    return folder, manifest


def _answers(candidate: Candidate, examples: Sequence[Example]) -> Probabilities:
    return _scores(candidate, [example.text for example in examples])


def _scores(candidate: Candidate, texts: Sequence[str]) -> Probabilities:
    return candidate.classifier.probabilities([normalise(text, candidate.normalisation) for text in texts])


def _normalised(candidate: Candidate, examples: Sequence[Example]) -> list[str]:
    return [normalise(example.text, candidate.normalisation) for example in examples]
