"""How much less than so many independent entries a stream says: how often its entries repeat each other."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SPAN: Final = 128  # entries whose scores are added; dependence over a tenth of it is seen almost whole
LEAST: Final = 8  # differences before anything is said
REMEMBERED: Final = 200  # differences: 25 600 entries
CLIP: Final = 8.0  # times the present estimate; one sudden change is drift and not dependence
BEYOND: Final = 2.0  # standard errors by which it must pass independence
SPREAD: Final = 3.0  # variance of one squared difference of neighbours, halved, each shared with the next


@dataclass(slots=True)
class Dependence:
    """The variance of sums of `SPAN` entries, as a multiple of what independent entries of the reference have.

    From differences of neighbouring sums (J. von Neumann, "Distribution of the ratio of the mean square successive
    difference to the variance", Annals of Mathematical Statistics 12 (1941), pp. 367-395), so that a level which has
    moved for good does not count. With AR(1) entries it is (1 + rho) / (1 - rho).
    """

    width: int  # numbers of an entry
    open: int = 0
    sums: list[int] = field(default_factory=list)
    before: list[int] | None = None
    seen: int = 0
    ratio: float = 1.0

    @property
    def inflation(self) -> float:
        """The multiple, 1 as long as chance would explain it."""
        n = min(self.seen, REMEMBERED)
        said = n >= LEAST and self.ratio > 1 + BEYOND * (SPREAD / n) ** 0.5
        return self.ratio if said else 1.0

    def update_many(self, scores: NDArray[np.int64], variance: float) -> None:
        """Take rows of *width* scores in order; *variance* is that of a row's sum of squares in the reference."""
        rest = np.array(self.sums or [0] * self.width, dtype=np.int64)
        first = min(SPAN - self.open, len(scores))
        rest += scores[:first].sum(axis=0)
        self.open += first
        if self.open == SPAN:
            whole = (len(scores) - first) // SPAN
            taken = first + whole * SPAN
            for sums in [rest, *scores[first:taken].reshape(whole, SPAN, self.width).sum(axis=1)]:
                self._difference(sums.tolist(), variance)
                self.before = sums.tolist()
            rest = scores[taken:].sum(axis=0)
            self.open = len(scores) - taken
        self.sums = rest.tolist()

    def _difference(self, sums: list[int], variance: float) -> None:
        if self.before is None:
            return
        self.seen += 1
        squares = sum((a - b) ** 2 for a, b in zip(sums, self.before, strict=True))
        found = min(squares / (2 * SPAN * variance), CLIP * max(self.ratio, 1.0))
        self.ratio += (found - self.ratio) / min(self.seen + 1, REMEMBERED)

    def dump(self) -> list[Any]:
        """Return the state as plain values."""
        return [self.open, self.sums, self.before, self.seen, self.ratio]

    def load(self, state: list[Any]) -> None:
        """Take the state back."""
        self.open, self.sums, self.before, self.seen, self.ratio = state
