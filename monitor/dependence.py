"""How much less than so many independent entries a stream says: how often its entries repeat each other."""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SPAN: Final = 128  # entries whose scores are added; dependence over a tenth of it is seen almost whole
LEAST: Final = 8  # differences, 1152 entries, before anything is said...
UNKNOWN: Final = 4.0  # ...and what is taken for the multiples until then
REMEMBERED: Final = 200  # differences: 25 600 entries
CLIP: Final = 8.0  # times the present estimate; one sudden change is drift and not dependence
BEYOND: Final = 2.0  # standard errors by which it must pass independence
SPREAD: Final = 3.0  # variance of one squared difference of neighbours, halved, each shared with the next


@dataclass(slots=True)
class Dependence:
    """The variances of sums of `SPAN` entries, as multiples of what independent entries of the reference have.

    From differences of neighbouring sums (J. von Neumann, "Distribution of the ratio of the mean square successive
    difference to the variance", Annals of Mathematical Statistics 12 (1941), pp. 367-395), so that a level which has
    moved for good does not count. With AR(1) entries it is (1 + rho) / (1 - rho).
    """

    width: int  # numbers of an entry
    open: int = 0
    sums: list[int] = field(default_factory=list)
    before: list[int] | None = None
    seen: int = 0
    ratios: list[float] = field(default_factory=list)

    @property
    def inflations(self) -> list[float]:
        """The multiples, 1 where chance would explain them."""
        n = min(self.seen, REMEMBERED)
        if n < LEAST:
            return [UNKNOWN] * self.width
        limit = 1 + BEYOND * math.sqrt(SPREAD / n)
        return [ratio if ratio > limit else 1.0 for ratio in self.ratios]

    def update_many(self, scores: NDArray[np.int64], variances: list[float]) -> None:
        """Take rows of *width* scores in order, whose variances in the reference are known."""
        rest = np.array(self.sums or [0] * self.width, dtype=np.int64)
        first = min(SPAN - self.open, len(scores))
        rest += scores[:first].sum(axis=0)
        self.open += first
        if self.open == SPAN:
            whole = (len(scores) - first) // SPAN
            taken = first + whole * SPAN
            for sums in [rest, *scores[first:taken].reshape(whole, SPAN, self.width).sum(axis=1)]:
                self._difference(sums.tolist(), variances)
                self.before = sums.tolist()
            rest = scores[taken:].sum(axis=0)
            self.open = len(scores) - taken
        self.sums = rest.tolist()

    def _difference(self, sums: list[int], variances: list[float]) -> None:
        if self.before is None:
            return
        self.seen += 1
        weight = 1 / min(self.seen + 1, REMEMBERED)
        ratios = []
        for ratio, a, b, variance in zip(self.ratios or [1.0] * self.width, sums, self.before, variances, strict=True):
            found = min((a - b) ** 2 / (2 * SPAN * variance), CLIP * max(ratio, 1.0))
            ratios.append(ratio + weight * (found - ratio))
        self.ratios = ratios

    def dump(self) -> list[Any]:
        """Return the state as plain values."""
        return [self.open, self.sums, self.before, self.seen, self.ratios]

    def load(self, state: list[Any]) -> None:
        """Take the state back."""
        self.open, self.sums, self.before, self.seen, self.ratios = state
