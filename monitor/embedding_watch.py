"""What watches the coordinates of a version's embedding, all at once: has their mean left the reference's?"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.channels import swing
from monitor.dependence import Dependence
from monitor.drift import Counts
from monitor.profiles import EMBEDDING, Embedding
from monitor.run_length import SCALE
from monitor.scan import Scan, Yardstick
from monitor.settings import Rules

NAMED: Final = 3  # coordinates that the evidence names


class EmbeddingWatch:
    """One scan over all coordinates. An entry that does not say all of them is left out."""

    name: Final = EMBEDDING

    def __init__(self, embedding: Embedding, columns: NDArray[np.int64], rules: Rules) -> None:
        self.embedding = embedding
        self.columns = columns
        self.scan = Scan(len(columns))
        self.blocks = np.zeros((2, *embedding.scores.shape), dtype=np.int64)  # counts of the last block and of this one
        self._dependence = Dependence(len(columns))
        self._inflations = self._dependence.inflations  # as they were at the end of the last block
        self._swings = [0] * len(columns)  # scores
        self._places = np.arange(len(columns))
        self._run = rules.drift_run_length
        self._multiple = 1.0
        self.at_multiple(1.0)

    def at_multiple(self, multiple: float) -> None:
        """Run *multiple* times as many entries between false alarms as the rules say."""
        self._multiple = multiple
        inflations, swings = np.array(self._inflations), np.array(self._swings) / SCALE
        self._yardstick = Yardstick.of(self.embedding.reference, self._run * multiple, inflations, swings)

    def at_day(self, hours: list[list[Counts]]) -> None:
        """Allow for what the *hours* of a day differed by, each a histogram a coordinate."""
        scores = [self.embedding.scores[at, : len(f.counts)] for at, f in enumerate(self.embedding.features)]
        self._swings = [swing([hour[at] for hour in hours], each) for at, each in enumerate(scores)]
        self.at_multiple(self._multiple)

    def changes(self, bins: NDArray[np.int64], times: NDArray[np.int64]) -> list[tuple[int, bool, int]]:
        """Feed rows of which every coordinate is known; return where the alarm changed, and when its shift began."""
        rows = self.embedding.scores[self._places, bins]
        found = self.scan.update_many(rows, self._yardstick, times)
        self._dependence.update_many(rows, self.embedding.variances)
        return [(at, began, self.scan.onset_ms) for at, began in found]

    def count(self, bins: NDArray[np.int64]) -> None:
        """Count entries of the present block."""
        self.blocks[1] += self._counted(bins)

    def end_block(self) -> None:
        """Begin the next block."""
        self.blocks = np.stack([self.blocks[1], np.zeros_like(self.blocks[1])])
        if self._inflations != self._dependence.inflations:
            self._inflations = self._dependence.inflations
            self.at_multiple(self._multiple)

    def evidence_of(self, bins: NDArray[np.int64]) -> dict[str, Any]:
        """Return what an alarm that begins now is told with; *bins* are entries that are not yet counted."""
        counts = self.blocks.sum(axis=0)
        counts += self._counted(bins)
        means = (counts * self.embedding.scores).sum(axis=1) / (np.maximum(counts.sum(axis=1), 1) * SCALE)
        furthest = np.argsort(-np.abs(means), kind="stable")[:NAMED].tolist()
        first = self.embedding.features[furthest[0]]
        distance = float(np.sqrt((means**2).sum()))
        return {
            "threshold": min(self._yardstick.alarm),
            "summary": f"what the texts mean to the model has moved by {distance:.2f} standard deviations, "
            f"furthest {first.name}",
            "window": f"last {int(counts[0].sum())} entries",
            "n": int(counts[0].sum()),
            "coordinates": {self.embedding.features[at].name: round(float(means[at]), 3) for at in furthest},
            "reference": first.counts.tolist(),
            "current": counts[furthest[0]][: len(first.counts)].tolist(),
            **first.bins(),
        }

    def _counted(self, bins: NDArray[np.int64]) -> NDArray[np.int64]:
        shape = self.blocks[1].shape
        cells = bins + self._places * shape[1]
        return np.bincount(cells.ravel(), minlength=shape[0] * shape[1]).reshape(shape)

    def level(self) -> tuple[float, float]:
        """Return how far the last test was on the way to an alarm, and 1."""
        return self.scan.share, 1.0

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "scan": self.scan.dump(),
            "blocks": self.blocks.tolist(),
            "dependence": self._dependence.dump(),
            "inflations": self._inflations,
            "swings": self._swings,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take the state back; `at_multiple` follows."""
        self.scan.load(state["scan"])
        self.blocks = np.array(state["blocks"], dtype=np.int64)
        self._dependence.load(state["dependence"])
        self._inflations, self._swings = state["inflations"], state["swings"]
