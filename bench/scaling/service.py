"""How long a worker takes for a batch, as `bench.scaling.measure` measured it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

MEASURED: Final = Path(__file__).with_name("measured.json")
QUANTILES: Final = 200


def measured(file: Path = MEASURED) -> dict[str, Any]:
    """Return what was measured."""
    return dict(json.loads(file.read_text()))


class Service:
    """Seconds from the reading of a batch to its results on the log, drawn from what was measured.

    A batch between two measured sizes takes what lies between the same quantile of both.
    """

    def __init__(self, cycles: Mapping[int, Sequence[float]], seed: int = 0) -> None:
        sizes = sorted(cycles)
        at = (np.arange(QUANTILES) + 0.5) / QUANTILES
        known = np.array([np.quantile(np.asarray(cycles[size]), at) for size in sizes])
        self.batch = sizes[-1]
        self.mean = [0.0]
        self._times: list[list[float]] = [[]]
        for size in range(1, self.batch + 1):
            times = [float(np.interp(size, sizes, known[:, column])) for column in range(QUANTILES)]
            self._times.append(times)
            self.mean.append(sum(times) / QUANTILES)
        self.begin(seed)

    def begin(self, seed: int) -> None:
        """Begin to draw anew."""
        self._draws: list[int] = np.random.default_rng(seed).integers(QUANTILES, size=1 << 16).tolist()
        self._next = 0

    @property
    def texts_per_second(self) -> float:
        """Of one worker whose batches are full, which is what it announces."""
        return self.batch / self.mean[self.batch]

    def __call__(self, texts: int) -> float:
        """Draw the seconds that a batch of *texts* takes."""
        self._next = (self._next + 1) & 0xFFFF
        return self._times[texts][self._draws[self._next]]


def service_of(found: Mapping[str, Any], seed: int = 0) -> Service:
    """Return the service times among what was measured."""
    return Service({int(size): times for size, times in found["cycles_s"].items()}, seed)
