"""The versions that the explainer holds in memory, by the worker's loaders: it explains what was answered."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broker.manifest import read_verified
from broker.settings import BrokerSettings
from broker.store import store_of
from broker.text import normalise
from worker.explaining.attribution import Attribution, Tick, attribute
from worker.models import Model, load_version

if TYPE_CHECKING:
    from worker.explaining.coefficients import Coefficients

MOST_HELD: Final = 3


@dataclass(frozen=True, slots=True)
class Explained:
    """One label of one text, explained."""

    label: str
    attribution: Attribution

    def document(self) -> dict[str, Any]:
        """Return what a caller is told."""
        found = self.attribution
        return {
            "label": self.label,
            "method": found.method,
            "scale": "log_odds",
            "baseline": round(found.baseline, 9),
            "score": round(found.score, 9),
            "words": [
                {"text": part, "weight": round(weight, 9)}
                for part, weight in zip(found.parts, found.weights, strict=True)
            ],
            "truncated": found.truncated,
            "evaluations": found.evaluations,
        }


@dataclass(frozen=True, slots=True)
class Version:
    """One loaded version and, where it is linear, its coefficients."""

    model: Model
    coefficients: "Coefficients | None"

    @classmethod
    def load(cls, folder: Path) -> "Version":
        """Load the version in *folder*.

        Raises:
            ModelRefusedError: it is missing or damaged.

        """
        # It imports ONNX Runtime, which reads its environment then.
        from worker.explaining.coefficients import Coefficients  # noqa: PLC0415

        model = load_version(folder).model
        _, files = read_verified(folder)
        coefficients = Coefficients.of(files) if model.manifest.kind == "linear" else None
        return cls(model, coefficients)

    def explain(self, text: str, most: int, tick: Tick) -> Explained:
        """Explain the label that the version gives *text*, with about *most* questions to it."""
        manifest = self.model.manifest
        read = normalise(text, manifest.normalisation)
        probabilities = self.model.predict([read])[0].probabilities
        label_id = probabilities.index(max(probabilities))
        if self.coefficients:
            found = self.coefficients.attribute(read, label_id, manifest.max_length)
        else:
            found = attribute(self.model, read, label_id, most, tick)
        return Explained(manifest.labels[label_id], found)


class Versions:
    """The versions asked for last."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._store = store_of(settings)
        self._copies = settings.models
        self._held: OrderedDict[tuple[str, str], Version] = OrderedDict()

    def models(self) -> list[str]:
        """Return the names of the models in the store.

        Raises:
            StoreError: it cannot be reached.

        """
        return self._store.models()

    def get_live(self, model: str) -> Version:
        """Return the version of *model* that is live; raises as `get`."""
        return self.get(model, self._store.pointer(model).version)

    def get(self, model: str, version: str) -> Version:
        """Return a version, loading it where it is not held.

        Raises:
            ModelRefusedError: it is missing or damaged.
            StoreError: it cannot be fetched now.

        """
        key = (model, version)
        if key not in self._held:
            self._held[key] = Version.load(self._store.fetch(model, version, self._copies))
            if len(self._held) > MOST_HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]
