"""The detector that bets on ranks: quiet by proof, whatever the traffic's shape and dependence."""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.detectors import HOLD, QUIET_BLOCKS, last_zeros
from monitor.drift import Counts

CHUNK: Final = 64  # entries whose bets are settled together
BETS: Final = (0.1, 0.25, 0.5, 1.0, 1.4)  # for small shifts and for great ones
UNIT: Final = 1 << 24  # ranks and logarithms are whole parts of it: their sums are the same in any batching
TOLERANCE: Final = math.sqrt(math.log(2 / 0.05) / 2)  # over sqrt(n): Dvoretzky-Kiefer-Wolfowitz at 95 %


@dataclass(frozen=True, slots=True)
class Stakes:
    """What each bin wins for each bet on "higher" and on "lower", and the mean rank that is no news."""

    logs: NDArray[np.int64]  # (bins, 2 * bets), in units
    ranks: NDArray[np.int64]  # (bins,), in units
    mean: float
    calm: float  # distance of a block's mean rank that ends an alarm

    @classmethod
    def of(cls, ranks: NDArray[np.float64], counts: Counts, swing: float = 0.0) -> "Stakes":
        """Lay fair bets on *ranks* (0 to 1, one a bin) against any mean within the tolerance of the reference's.

        Hours of a day whose mean ranks differ by *swing* are within it, too.
        """
        shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
        mean = float(ranks @ shares)
        calm = TOLERANCE / math.sqrt(float(counts.sum())) + swing / 2  # a level that is new still stands out of a day
        tolerance = min(calm + swing / 2, 0.9 * mean, 0.9 * (1 - mean))
        bets = np.array(BETS)
        up = np.log1p(np.outer(ranks - mean - tolerance, np.minimum(bets, 0.9 / (mean + tolerance))))
        down = np.log1p(np.outer(mean - tolerance - ranks, np.minimum(bets, 0.9 / (1 - mean + tolerance))))
        logs = np.rint(np.hstack([up, down]) * UNIT).astype(np.int64)
        return cls(logs, np.rint(ranks * UNIT).astype(np.int64), mean, calm)


def middle_ranks(counts: Counts) -> NDArray[np.float64]:
    """Return the middle rank of each bin in the reference; their mean over it is one half."""
    shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    ranks: NDArray[np.float64] = np.cumsum(shares) - shares / 2
    return ranks


@dataclass(slots=True)
class RankDetector:
    """Shiryaev-Roberts e-detector: ``M = (M + 1) * L`` for each bet, alarm when the mean over them passes a limit.

    The mean number of chunks to a false alarm is at least the limit while the mean rank, given all before, stays within
    the tolerance (J. Shin, A. Ramdas, A. Rinaldo, "E-detectors", NEJSDS 2023, arXiv 2203.03532). Entries that repeat
    each other leave it for a while: what the bets win is divided by how often they do.
    Ends after `QUIET_BLOCKS` blocks of `HOLD` entries whose mean rank is within the tolerance.
    """

    sums: list[float] = field(default_factory=lambda: [0.0] * (2 * len(BETS)))
    gained: list[int] = field(default_factory=lambda: [0] * (2 * len(BETS)))  # by the bets of the open chunk
    open: int = 0  # entries of the open chunk, or of the open block while active
    ranked: int = 0  # ranks summed over the open block
    quiet: int = 0
    active: bool = False
    walks: list[int] = field(default_factory=lambda: [0] * (2 * len(BETS)))  # CUSUM of each bet's logarithms, in units
    zeros: list[int] = field(default_factory=lambda: [0] * (2 * len(BETS)))  # when each was last 0; 0: before any entry
    onset_ms: int = 0  # of the alarm's shift: since then the bet that won most has won

    @property
    def statistic(self) -> float:
        """The evidence so far."""
        return sum(self.sums) / len(self.sums)

    def update_many(
        self,
        stakes: Stakes,
        bins: NDArray[np.int64],
        limit: float,
        times: NDArray[np.int64],
        inflation: float = 1.0,
    ) -> list[tuple[int, bool]]:
        """Take *bins* in order; return (position, began) of every change."""
        changes: list[tuple[int, bool]] = []
        at = 0
        while at < len(bins):
            was = self.active
            if was:
                at += self._hold(stakes, bins[at:])
            else:
                at += self._bet(stakes, bins[at:], times[at:], limit, UNIT * inflation)
            if self.active != was:
                self.zeros = self.zeros if self.active else [int(times[at - 1])] * len(self.zeros)
                changes.append((at - 1, self.active))
        return changes

    def _bet(self, stakes: Stakes, bins: NDArray[np.int64], times: NDArray[np.int64], limit: float, unit: float) -> int:
        first = min(CHUNK - self.open, len(bins))
        whole = (len(bins) - first) // CHUNK
        gains = [stakes.logs[bins[:first]].sum(axis=0) + np.array(self.gained)]
        chunks = stakes.logs[bins[first : first + whole * CHUNK]].reshape(whole, CHUNK, len(self.gained)).sum(axis=1)
        self.open += first
        if self.open < CHUNK:
            self.gained = gains[0].tolist()
            return first
        taken, sums = first, np.array(self.sums)
        settled, ends = np.vstack([gains[0], chunks]), times[first - 1 :: CHUNK]
        for number, gained in enumerate(settled, 1):
            sums = (sums + 1) * np.exp(gained / unit)  # always of this one length: the same in any batching
            if float(sums.sum()) >= limit * len(sums):
                self.sums = sums.tolist()
                self._walk(settled[:number], ends)
                self._begin()
                return taken
            taken += CHUNK
        self._walk(settled, ends)
        self.sums = sums.tolist()
        taken = first + whole * CHUNK
        self.open = len(bins) - taken
        self.gained = stakes.logs[bins[taken:]].sum(axis=0).tolist()
        return len(bins)

    def _walk(self, gains: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        walks = np.cumsum(gains, axis=0) + np.array(self.walks)
        walks -= np.minimum(np.minimum.accumulate(walks, axis=0), 0)
        self.walks, self.zeros = walks[-1].tolist(), last_zeros(walks.T, ends, self.zeros)

    def _begin(self) -> None:
        self.active = True
        self.onset_ms = self.zeros[int(np.argmax(self.sums))]
        self.walks = [0] * len(self.walks)
        self.open = self.ranked = self.quiet = 0
        self.gained = [0] * len(self.gained)

    def _hold(self, stakes: Stakes, bins: NDArray[np.int64]) -> int:
        taken = min(HOLD - self.open, len(bins))
        self.open += taken
        self.ranked += int(stakes.ranks[bins[:taken]].sum())
        if self.open == HOLD:
            calm = abs(self.ranked / (HOLD * UNIT) - stakes.mean) <= stakes.calm
            self.quiet = self.quiet + 1 if calm else 0
            self.open = self.ranked = 0
            if self.quiet == QUIET_BLOCKS:
                self.active, self.sums = False, [0.0] * len(self.sums)
        return taken

    def dump(self) -> list[Any]:
        """Return the state as plain values."""
        return [
            self.sums,
            self.gained,
            self.open,
            self.ranked,
            self.quiet,
            self.active,
            self.walks,
            self.zeros,
            self.onset_ms,
        ]

    def load(self, state: list[Any]) -> None:
        """Take the state back."""
        self.sums, self.gained, self.open, self.ranked, self.quiet, self.active = state[:6]
        self.walks, self.zeros, self.onset_ms = state[6:]
