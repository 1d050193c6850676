"""One evaluation: what is printed and what is kept in a file."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from broker.errors import ObservaError
from broker.labelled import LabelledFile
from broker.ratios import quantile
from cli.monitor import Counted
from cli.scores import Scores
from cli.sending import TEXTS_PER_CALL, Outcome
from cli.terminal import columns, percent, printable

QUANTILES = (0.5, 0.95, 0.99)
FAILURES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Everything that one run over one file found."""

    run_id: str
    model: str
    file: LabelledFile
    outcomes: Sequence[Outcome]
    scores: Scores
    call_ms: Sequence[float]
    duration_s: float
    monitor: Counted | None  # None: it could not be asked

    @property
    def answered(self) -> list[dict[str, Any]]:
        """The predictions, in the order of the file."""
        return [outcome.prediction for outcome in self.outcomes if outcome.prediction]

    @property
    def failed(self) -> list[Outcome]:
        """The texts that got no prediction."""
        return [outcome for outcome in self.outcomes if not outcome.prediction]

    def document(self) -> dict[str, Any]:
        """Return what goes into the metrics file."""
        scores = asdict(self.scores)
        return {
            "run_id": self.run_id,
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": self.model,
            "versions": dict(Counter(prediction["version"] for prediction in self.answered)),
            "file": {
                "path": str(self.file.path),
                "sha256": self.file.sha256,
                "found": self.file.found,
                "rows": self.file.read,
                "used": self.file.used,
                "refused": self.file.refused,
            },
            **scores,
            "failed": len(self.failed),
            "abstained": sum(bool(prediction["abstained"]) for prediction in self.answered),
            "truncated": sum(bool(prediction["truncated"]) for prediction in self.answered),
            "duration_s": round(self.duration_s, 3),
            "texts_per_second": round(len(self.answered) / self.duration_s, 1),
            "latency_ms": {"call": _quantiles(self.call_ms), "text": _quantiles(self._text_ms())},
            "monitor": self.monitor,
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        scores, document = self.scores, self.document()
        versions = ", ".join(document["versions"]) or "no version"
        return [
            f"{self.model} {printable(versions)}",
            *self.file.said(),
            f"{scores.count} of {len(self.outcomes)} texts answered, {document['texts_per_second']:.1f} texts/s",
            "",
            *self._accuracy_lines(),
            "",
            *_label_lines(scores),
            "",
            *_confusion_lines(scores),
            "",
            *columns(
                [
                    ("latency", *(f"p{100 * share:.0f}" for share in QUANTILES)),
                    (f"one call, at most {TEXTS_PER_CALL} texts", *_milliseconds(document["latency_ms"]["call"])),
                    ("one text, in the service", *_milliseconds(document["latency_ms"]["text"])),
                ],
                right=frozenset({1, 2, 3}),
            ),
            *self._failure_lines(),
        ]

    def _text_ms(self) -> list[float]:
        return [prediction["timing_ms"]["total"] for prediction in self.answered]

    def _accuracy_lines(self) -> list[str]:
        scores = self.scores
        if scores.interval_95 is None:
            return ["accuracy  -  no text was answered"]
        low, high = scores.interval_95
        ours = (
            "accuracy",
            percent(scores.accuracy),
            f"{scores.correct} of {scores.count} right; 95 % interval {100 * low:.1f} to {100 * high:.1f} %",
        )
        if self.monitor is None:
            return columns([ours, ("monitor", "-", "did not answer")], right=frozenset({1}))
        theirs = ("monitor", percent(self.monitor["accuracy"]), f"{self.monitor['count']} texts of this run")
        return columns([ours, theirs], right=frozenset({1}))

    def _failure_lines(self) -> list[str]:
        if not self.failed:
            return []
        shown = [f"  {each.row.place}: {printable(str(each.failure))}" for each in self.failed[:FAILURES_SHOWN]]
        more = len(self.failed) - len(shown)
        return ["", f"{len(self.failed)} failed:", *shown, *([f"  and {more} more"] if more else [])]


def make_room(path: Path) -> None:
    """Make sure, before anything is sent, that *path* can be written.

    Raises:
        ObservaError: it cannot.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ObservaError(f"{path.parent}: {error.strerror}; choose another place with --output") from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ObservaError(f"{path} cannot be written; choose another place with --output")


def write_metrics(path: Path, document: dict[str, Any]) -> None:
    """Replace *path* by *document*, whole or not at all; what the trainer wrote there of its models stays.

    Raises:
        ObservaError: the place cannot be written to.

    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        models = orjson.loads(path.read_bytes()).get("models") if path.exists() else None
    except (OSError, ValueError, AttributeError):
        models = None
    kept = {"models": models} if models else {}
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        unfinished.write_bytes(orjson.dumps(document | kept, option=options))
        unfinished.replace(path)
    except OSError as error:
        raise ObservaError(f"{path}: {error.strerror}; choose another place with --output") from None


def _label_lines(scores: Scores) -> list[str]:
    rows = [
        (printable(label), percent(each.precision), percent(each.recall), percent(each.f1), str(each.support))
        for label, each in scores.per_label.items()
    ]
    heads = ("label", "precision", "recall", "F1", "texts")
    return columns([heads, *rows, ("macro", "", "", percent(scores.f1_macro), "")], right=frozenset({1, 2, 3, 4}))


def _confusion_lines(scores: Scores) -> list[str]:
    labels = [printable(label) for label in scores.labels]
    rows = [(label, *map(str, counts)) for label, counts in zip(labels, scores.confusion, strict=True)]
    return columns([("true \\ predicted", *labels), *rows], right=frozenset(range(1, len(labels) + 1)))


def _quantiles(values: Sequence[float]) -> dict[str, float | None]:
    found = {f"p{100 * share:.0f}": quantile(values, share) for share in QUANTILES}
    return {name: None if value is None else round(value, 3) for name, value in found.items()}


def _milliseconds(quantiles: dict[str, float | None]) -> list[str]:
    return ["-" if value is None else f"{value:.1f} ms" for value in quantiles.values()]
