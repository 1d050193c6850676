"""From data to a vouched-for candidate in five steps, each from files to files: prepare, fit, export, verify, evaluate.

`dvc.yaml` runs the same steps. Everything is under the build folder: build/NAME/{data,fitted,exported}/ and the JSON
files beside them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from broker.text import normalise
from trainer import figures, linear, prepare, transformer
from trainer.candidate import Candidate
from trainer.data import DataError
from trainer.evaluation import label_ids
from trainer.finetune import EpochReport
from trainer.folder import code_revision
from trainer.job import Job
from trainer.params import TransformerParams
from trainer.register import measure
from trainer.served import classifier_of
from trainer.splits import digest
from trainer.tracking import Run, tracked
from trainer.verify import INVARIANCE_LIMIT, LEAST_AGREEMENT_EXPORT, LEAST_AGREEMENT_INT8, require

FITTED: Final = "fitted"
EXPORTED: Final = "exported"
RUN: Final = "run.json"
TRAINING: Final = "training.json"
EXPORT: Final = "export.json"
VERIFICATION: Final = "verification.json"
METRICS: Final = "metrics.json"
PICTURES: Final = ("calibration.png", "confusion.png")
LEAST: Final = {
    "agreement_native": 1.0,
    "agreement_torch": LEAST_AGREEMENT_EXPORT,
    "agreement_fp32": LEAST_AGREEMENT_INT8,
}


def run_prepare(job: Job) -> None:
    """Write the texts that the model learns from and is judged by, and their card."""
    prepare.prepare(job.name, job.params, job.settings.trainer_cache, job.folder / "data")


def run_fit(job: Job) -> None:
    """Fit the model on the prepared texts, in a run of MLflow; an interrupted fine-tuning goes on where it was."""
    chosen, splits = job.chosen, job.prepared().splits
    with tracked(job.name, job.settings.trainer_cache) as run:
        job.write(RUN, {"run": run.id})
        run.params(chosen.model_dump())
        run.tags({"data_digest": digest(splits), "code_revision": code_revision()})
        run.files(job.folder / "data" / "card.json", job.folder / "data" / "card.md", folder="data")
        epochs: list[dict[str, float]] = []

        def report(epoch: EpochReport) -> None:
            print(f"epoch {epoch.epoch}: validation loss {epoch.valid_loss:.4f}, accuracy {epoch.valid_accuracy:.4f}")
            epochs.append(epoch._asdict())
            run.log({name: value for name, value in epochs[-1].items() if name != "epoch"}, step=epoch.epoch)

        if isinstance(chosen, TransformerParams):
            found = transformer.fit(
                params=chosen,
                archives=job.params.archives,
                splits=splits,
                settings=job.settings,
                folder=job.folder / FITTED,
                report=report,
            )
        else:
            pipeline, found = linear.fit(splits, chosen)
            linear.save(pipeline, job.folder / FITTED)
        run.log(found)
        job.write(TRAINING, {"epochs": epochs} | found)
        if epochs:
            figures.curves(epochs, job.folder / "curves.png")
            run.files(job.folder / "curves.png", folder="figures")


def run_export(job: Job) -> None:
    """Write what is served, and how far it is from what was fitted."""
    chosen, test = job.chosen, job.prepared().splits.test
    kind: Any = transformer if isinstance(chosen, TransformerParams) else linear
    candidate: Candidate = kind.export(job.folder / FITTED, test, chosen)
    folder = job.folder / EXPORTED
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, content in candidate.files.items():
        (folder / name).write_bytes(content)
    job.write(EXPORT, candidate.metrics)


def run_verify(job: Job) -> None:
    """Hold what is served to its promises, and say so in a file.

    Raises:
        NotGoodEnoughError: it breaks one.

    """
    found = job.read(EXPORT)
    for name, least in LEAST.items():
        if name in found:
            require(name.replace("_", " "), found[name], least)
    largest = found.get("invariance_max_difference", 0.0)
    require("invariance of answers to their batch", -largest, -INVARIANCE_LIMIT)
    job.write(VERIFICATION, {"promised": LEAST | {"invariance_max_difference": INVARIANCE_LIMIT}, "found": found})


def run_evaluate(job: Job) -> dict[str, float]:
    """Judge what is served on texts it never saw, draw the figures, and return the metrics."""
    chosen, prepared, candidate = job.chosen, job.prepared(), candidate_in(job)
    test = prepared.splits.test
    metrics = measure(candidate, {"": test} | prepared.slices, len(chosen.labels))
    truth = label_ids([example.label for example in test])
    probabilities = candidate.classifier.probabilities([normalise(text, candidate.normalisation) for text, _ in test])
    pictures = [job.folder / name for name in PICTURES]
    figures.reliability(probabilities, truth, pictures[0])
    figures.confusion(truth, label_ids(probabilities.argmax(axis=1).tolist()), chosen.labels, pictures[1])
    job.write(METRICS, metrics)
    with resumed(job) as run:
        run.log(metrics)
        run.files(*pictures, folder="figures")
    return metrics


STAGES: Final[dict[str, Callable[[Job], object]]] = {
    "prepare": run_prepare,
    "fit": run_fit,
    "export": run_export,
    "verify": run_verify,
    "evaluate": run_evaluate,
}


def candidate_in(job: Job) -> Candidate:
    """Return what the stage export wrote.

    Raises:
        DataError: it is not there.

    """
    chosen, metrics = job.chosen, job.read(EXPORT)
    files = {path.name: path.read_bytes() for path in sorted((job.folder / EXPORTED).iterdir())}
    try:
        classifier = classifier_of(chosen.kind, files, chosen.max_length, chosen.normalisation)
    except KeyError as error:
        raise DataError(f"{job.folder / EXPORTED} lacks {error}; run the stage export again") from error
    return Candidate(files, classifier, chosen.normalisation, metrics)


@contextmanager
def resumed(job: Job) -> Iterator[Run]:
    """Go on with the run of MLflow in which the model was fitted, or open one where there is none."""
    try:
        run_id = str(job.read(RUN)["run"])
    except DataError:
        run_id = None
    with tracked(job.name, job.settings.trainer_cache, run_id) as run:
        yield run
