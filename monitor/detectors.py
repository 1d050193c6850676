"""Small sequential detectors: ``update`` takes what came next, ``dump`` and ``load`` carry the state over a restart."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from monitor.accuracy import alarm_limit

Z_999 = 3.2905267314918945  # two-sided 99.9 %
# Shares of the target accuracy that may have been lost; the bets of the mixture are laid for these.
LOSSES = (0.03, 0.0625, 0.125, 0.25)


HOLD: Final = 500  # entries of a block that may say that an alarm is over
CALM: Final = 0.25  # of the allowance: the mean score below which a block is calm
QUIET_BLOCKS: Final = 4  # such blocks in a row end it: an alarm lasts at least 2000 entries


@dataclass(slots=True)
class Cusum:
    """One-sided CUSUM on whole scores: begins at *height*, ends after `QUIET_BLOCKS` calm blocks of `HOLD` entries.

    A block is calm when its steps sum to less than *calm*, which is far below where an alarm begins: a shift of just
    the allowance would begin an alarm and end it again for ever if the sum's return to 0 were enough.
    """

    total: int = 0
    active: bool = False
    held: int = 0  # entries of the present block
    summed: int = 0  # of their steps
    quiet: int = 0  # calm blocks so far
    onset_ms: int = 0  # time of the last entry at which the sum was 0, or of the first: when an alarm's shift began

    def update_many(
        self, steps: NDArray[np.int64], height: float, calm: int, times: NDArray[np.int64]
    ) -> list[tuple[int, bool]]:
        """Add *steps* in order; return (position, began) of every change, sums exact in any batching."""
        changes: list[tuple[int, bool]] = []
        at = 0
        while at < len(steps):
            was = self.active
            if was:
                at += self._hold(steps[at : at + HOLD - self.held], calm)
            else:
                at += self._climb(steps[at:], times[at:], height)
            if self.active != was:
                self.onset_ms = self.onset_ms if self.active else int(times[at - 1])
                changes.append((at - 1, self.active))
        return changes

    def _climb(self, steps: NDArray[np.int64], times: NDArray[np.int64], height: float) -> int:
        """Add steps until the sum reaches *height*; return how many were taken."""
        sums = np.cumsum(steps) + self.total
        sums -= np.minimum(np.minimum.accumulate(sums), 0)
        high = sums >= height
        taken = int(high.argmax()) + 1 if high.any() else len(steps)
        (self.onset_ms,) = last_zeros(sums[None, :taken], times, [self.onset_ms])
        if not high.any():
            self.total = int(sums[-1])
            return taken
        self.active, self.total = True, int(height)
        self.held = self.summed = self.quiet = 0
        return taken

    def _hold(self, steps: NDArray[np.int64], calm: int) -> int:
        """Add steps to the present block, which they do not overfill; return how many were taken."""
        self.held += len(steps)
        self.summed += int(steps.sum())
        if self.held == HOLD:
            self.quiet = self.quiet + 1 if self.summed < calm else 0
            self.held = self.summed = 0
            if self.quiet == QUIET_BLOCKS:
                self.active, self.total = False, 0
        return len(steps)


def last_zeros(sums: NDArray[np.int64], times: NDArray[np.int64], before: list[int]) -> list[int]:
    """Return for each row of *sums* the time at which it was last 0; else the time *before*, or of the first entry.

    Of a CUSUM that is the most likely time of the change: nothing later explains as much of what came since.
    """
    zero = sums == 0
    last = sums.shape[1] - 1 - zero[:, ::-1].argmax(axis=1)
    kept = [at_ms or int(times[0]) for at_ms in before]
    found: list[int] = np.where(zero.any(axis=1), times[last], kept).tolist()
    return found


@dataclass(slots=True)
class ShiryaevRoberts:
    """E-detector for the hypothesis that every answer is right with at least probability *target*.

    The mean of ``M = (M + 1) * L`` over a few bets; alarm at ``M >= run_length``. The mean number of labels to a false
    alarm is then at least *run_length*, whatever the accuracy above the target, without independence and however often
    one looks (J. Shin, A. Ramdas, A. Rinaldo, "E-detectors", NEJSDS 2023, arXiv 2203.03532, section 2). It pages.
    """

    target: float
    sums: list[float] = field(default_factory=lambda: [0.0] * len(LOSSES))
    walks: list[float] = field(default_factory=lambda: [0.0] * len(LOSSES))  # CUSUM of each bet's logarithms
    zeros: list[int] = field(default_factory=lambda: [0] * len(LOSSES))  # when each was last 0; 0: before any label

    @property
    def statistic(self) -> float:
        """The evidence so far; compare with the wanted run length."""
        return sum(self.sums) / len(self.sums)

    @property
    def onset_ms(self) -> int:
        """When the accuracy most likely fell: since then the bet that won most has won."""
        return self.zeros[max(range(len(self.sums)), key=self.sums.__getitem__)]

    def update(self, *, correct: bool, at_ms: int = 0) -> None:
        """Take the next label, of a prediction made at *at_ms*; a fair bet at odds that the target sets."""
        odds = self.target / (1 - self.target)
        factors = [1 - loss if correct else 1 + loss * odds for loss in LOSSES]
        self.sums = [(total + 1) * factor for total, factor in zip(self.sums, factors, strict=True)]
        self.walks = [max(0.0, walk + math.log(factor)) for walk, factor in zip(self.walks, factors, strict=True)]
        self.zeros = [zero if walk and zero else at_ms for walk, zero in zip(self.walks, self.zeros, strict=True)]

    def reset(self) -> None:
        """Forget the evidence."""
        self.load(type(self)(self.target).dump())

    def dump(self) -> list[Any]:
        """Return the state as plain values."""
        return [self.sums, self.walks, self.zeros]

    def load(self, state: list[Any]) -> None:
        """Take the state back."""
        self.sums, self.walks, self.zeros = state


@lru_cache(maxsize=64)
def _limits(target: float, window: int, minimum: int) -> list[int]:
    """Return the largest number of right answers that is below the target, by how many there are: 0.3 s for 10 000."""
    return [alarm_limit(n, target, Z_999) if n >= minimum else -1 for n in range(window + 1)]


class WilsonRule:
    """The last labels in the order in which they came, and whether their upper Wilson bound is below the target.

    With the 99.9 % bound, a window of 200, at least 50 labels and ending as `recovered` says, it begins falsely about
    3 times in 100 000 labels at exactly the target, 0.5 times at 0.02 above it and not in 200 000 at 0.05 above it
    (simulated; a seeded test holds it below 40, 6 and 0): it opens a ticket, the e-detector pages.
    """

    def __init__(self, target: float, window: int, minimum: int) -> None:
        self.recent: deque[tuple[str, str]] = deque(maxlen=window)  # (true label, predicted)
        self.correct = 0
        self.target = target
        self._minimum = minimum
        self._limits = _limits(target, window, minimum)

    def update(self, label: str, predicted: str) -> None:
        """Take the next label."""
        if len(self.recent) == self.recent.maxlen:
            old_label, old_predicted = self.recent[0]
            self.correct -= old_label == old_predicted
        self.recent.append((label, predicted))
        self.correct += label == predicted

    @property
    def below(self) -> bool:
        """Whether even the upper bound is below the target."""
        return self.correct <= self._limits[len(self.recent)]

    def recovered(self, since: int) -> bool:
        """Tell whether enough of the last *since* labels are there, and the target's share of them was right."""
        count = min(since, len(self.recent))
        newest = islice(reversed(self.recent), count)
        return since >= self._minimum and sum(label == predicted for label, predicted in newest) >= self.target * count

    def confusion(self) -> dict[str, dict[str, int]]:
        """Return true label to predicted label to count over the recent labels."""
        result: dict[str, dict[str, int]] = {}
        for label, predicted in self.recent:
            row = result.setdefault(label, {})
            row[predicted] = row.get(predicted, 0) + 1
        return result

    def load(self, pairs: Iterable[list[str]]) -> Self:
        """Take labels back in the order in which they came."""
        for label, predicted in pairs:
            self.update(label, predicted)
        return self

    def dump(self) -> list[Any]:
        """Return the labels in the order in which they came."""
        return [list(pair) for pair in self.recent]
