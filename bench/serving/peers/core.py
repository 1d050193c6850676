"""The model, the same for every peer: the worker's own loader, tokenisation in bulk, chunks sorted by length.

So what differs between the rows of the table is the way to the model and back, not the model.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from broker.text import normalise
from worker.models import load_version

BATCH = 16  # as many rows as a chunk of our worker has
WAIT_S = 0.003  # how long a batching peer waits for company


class Core:
    """One loaded version; one thread."""

    def __init__(self) -> None:
        loaded = load_version(Path(os.environ["BENCH_MODEL"]))
        self._labels = loaded.manifest.labels
        self._normalisation = loaded.manifest.normalisation
        self._model = loaded.model

    def answers(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return one answer for each of *texts*, as its peer sends it."""
        found = []
        for scores in self._model.predict([normalise(text, self._normalisation) for text in texts]):
            best = max(range(len(self._labels)), key=scores.probabilities.__getitem__)
            found.append({"label": self._labels[best], "confidence": scores.probabilities[best]})
        return found
