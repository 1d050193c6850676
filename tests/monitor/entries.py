"""Entries, references and states for the monitor's tests."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from broker.events import Feedback, Result
from broker.manifest import Histogram, ModelManifest, ReferenceProfile
from monitor.profiles import Profile, build
from monitor.settings import Rules
from monitor.state import State

START_MS = 1_790_000_000_000  # on a minute, not on an hour
LABELS = ("negative", "positive")
Entry = tuple[bytes, dict[bytes, bytes]]


def prediction_id(made_ms: int, number: int = 0, model: str = "sentiment") -> str:
    return f"{model}.0.{UUID(int=made_ms << 80 | 7 << 76 | 2 << 62 | number)}"


def on_wire(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


def result(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "id": prediction_id(START_MS),
        "version": "1",
        "status": "ok",
        "label": "positive",
        "label_id": 1,
        "confidence": 0.9,
        "probabilities": {"negative": 0.1, "positive": 0.9},
        "abstained": False,
        "truncated": False,
        "characters": 100,
        "words": 18,
        "tokens": 20,
        "oov_ratio": 0.05,
        "queue_ms": 1.0,
        "inference_ms": 2.0,
        "batch_size": 4,
        "worker": "w",
    }
    values |= changes
    if "probabilities" not in changes:  # a label always has one
        values["probabilities"] |= {values["label"]: values["confidence"]} if values["label"] else {}
    return Result(**values)


def feedback(correct: bool = True, **changes: Any) -> Feedback:
    values: dict[str, Any] = {
        "id": prediction_id(START_MS),
        "label": "positive" if correct else "negative",
        "predicted": "positive",
        "confidence": 0.9,
        "version": "1",
        "source": "caller",
    }
    return Feedback(**(values | changes))


def entry(event: Result | Feedback, at_ms: int, sequence: int = 0) -> Entry:
    return f"{at_ms}-{sequence}".encode(), on_wire(event.to_fields())


def reference(count: int = 5000, seed: int = 1) -> tuple[ModelManifest, ReferenceProfile]:
    draws = draw(np.random.default_rng(seed), count)
    features = {}
    for name in ("characters", "words", "tokens", "oov_ratio", "confidence"):
        edges = np.unique(np.quantile(draws[name], np.linspace(0.1, 0.9, 9)))
        counts = np.bincount(np.searchsorted(edges, draws[name], side="left"), minlength=len(edges) + 1)
        features[name] = Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))
    positive = int(draws["positive"].sum())
    manifest = ModelManifest(
        name="sentiment",
        version="1",
        kind="linear",
        labels=LABELS,
        max_length=128,
        metrics={},
        data_digest="0" * 64,
        code_revision="0",
        created="2026-01-01T00:00:00Z",
        files={},
    )
    labels = {"negative": count - positive, "positive": positive}
    return manifest, ReferenceProfile(count=count, source="made up", features=features, labels=labels)


def draw(rng: np.random.Generator, count: int, longer: float = 1.0, positive: float = 0.5) -> dict[str, np.ndarray]:
    """Texts of about 18 words; longer ones and more positive ones on request."""
    words = np.maximum(1, np.rint(rng.lognormal(2.8, 0.45, count) * longer))
    return {
        "words": words,
        "characters": np.rint(words * rng.normal(5.8, 0.7, count)).clip(1),
        "tokens": np.rint(words * rng.normal(1.2, 0.1, count)).clip(1) + 2,
        "oov_ratio": np.minimum(1, rng.binomial(words.astype(int), 0.06) / words),
        "confidence": 0.5 + 0.5 * rng.beta(3, 1.2, count),
        "positive": rng.random(count) < positive,
    }


def results_of(draws: dict[str, np.ndarray], start_ms: int = START_MS, step_ms: int = 20) -> list[Entry]:
    made, template = [], on_wire(result().to_fields())
    for i in range(len(draws["words"])):
        at = start_ms + i * step_ms
        changes = {
            b"id": prediction_id(at - 5, i).encode(),
            b"label": LABELS[int(draws["positive"][i])].encode(),
            **{name.encode(): b"%d" % draws[name][i] for name in ("characters", "words", "tokens")},
            **{name.encode(): str(float(draws[name][i])).encode() for name in ("oov_ratio", "confidence")},
        }
        made.append((b"%d-0" % at, template | changes))
    return made


def labels_of(correct: Sequence[bool], start_ms: int = START_MS, step_ms: int = 20) -> list[Entry]:
    return [
        entry(feedback(bool(right), id=prediction_id(start_ms + i * step_ms - 5, i)), start_ms + i * step_ms)
        for i, right in enumerate(correct)
    ]


def profile_of(version: str) -> Profile:
    """A calibrated profile of version 1, nothing of any other."""
    return _KNOWN if version == "1" else Profile(version, 0.8)


def state(rules: Rules | None = None) -> State:
    return State(rules or Rules(), profile_of)


def fold_all(into: State, results: Iterable[Entry] = (), labels: Iterable[Entry] = ()) -> list[Any]:
    alerts = into.results.fold(list(results)) + into.feedback.fold(list(labels))
    into.alerts += len(alerts)
    return alerts


def as_version_4(watched: State) -> dict[str, Any]:
    """The snapshot as a monitor without a long window wrote it."""
    old: dict[str, Any] = orjson.loads(watched.encode()) | {"state_version": 4}
    for fold in (old["results"], old["feedback"]):
        fold["unreadable"] = fold.pop("aside")[0]
    for _, known in (*old["results"]["tracks"], *old["results"]["shadows"], *old["feedback"]["judgements"]):
        del known["days"]
        known.pop("arrivals", None)
    return old


_KNOWN = build(*reference(), Rules())
