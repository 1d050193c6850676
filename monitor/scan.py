"""Several numbers of an entry at once: has their mean left the reference's, over any of several lengths."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.detectors import HOLD, QUIET_BLOCKS
from monitor.drift import chi2_quantile
from monitor.run_length import SCALE

CHUNK: Final = 16  # entries that are added before anything is tested
LENGTHS: Final = (2, 6, 16, 48, 128)  # chunks of a window
OVERLAP: Final = 4  # a window is tested so many times on its way
CALM: Final = 0.9  # chance that a block of the reference is calm

Rows = NDArray[np.int64]  # (entries, numbers), in scores


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a mean is measured by."""

    reference: int  # entries the reference has
    alarm: tuple[float, ...]  # squared distance, in standard errors, that begins an alarm, by length
    inflations: NDArray[np.float64]  # each number repeats itself so many times
    swings: NDArray[np.float64]  # standard deviations by which hours of a day differ

    @classmethod
    def of(
        cls, reference: int, run: float, inflations: NDArray[np.float64], swings: NDArray[np.float64]
    ) -> "Yardstick":
        """Return the limits for *run* entries between false alarms, by adding up the chances of every test."""
        chances = [min(CHUNK * _step(length) / (run * len(LENGTHS)), 0.5) for length in LENGTHS]
        return cls(reference, tuple(chi2_quantile(1 - chance, len(swings)) for chance in chances), inflations, swings)

    def distance(self, sums: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        """Return the squared distance of each mean of *count* entries, in its standard errors: chi-squared if unmoved.

        The reference's own mean is uncertain, too; what hours of a day differ by is taken off.
        """
        beyond = np.maximum(np.abs(sums) / (count * SCALE) - self.swings, 0.0)
        found: NDArray[np.float64] = (count * beyond * beyond / (self.inflations + count / self.reference)).sum(axis=-1)
        return found


@dataclass(slots=True)
class Scan:
    """Hotelling's statistic over windows of `LENGTHS`; ends after `QUIET_BLOCKS` blocks of `HOLD` that are calm.

    The numbers are those of the shipped projections, which do not follow each other on the reference; every test adds
    its chance to the false alarms, so the stated run length holds however much windows overlap.
    """

    numbers: int
    done: int = 0  # chunks since an alarm
    open: int = 0  # entries of the open chunk, or of the block while an alarm is on
    sums: list[int] = field(default_factory=list)  # of the open chunk or block
    totals: list[list[int]] = field(default_factory=list)  # after each of the last chunks, of all since an alarm
    quiet: int = 0
    active: bool = False
    share: float = 0.0  # of the way to an alarm, at the last test
    times: list[int] = field(default_factory=list)  # of the last entry in each of the totals
    onset_ms: int = 0  # where the window begins that the alarm's mean left in, the strangest of those tested

    def update_many(self, rows: Rows, yardstick: Yardstick, times: NDArray[np.int64]) -> list[tuple[int, bool]]:
        """Take *rows* in order; return (position, began) of every change."""
        changes: list[tuple[int, bool]] = []
        at = 0
        while at < len(rows):
            was = self.active
            at += self._hold(rows[at:], yardstick) if was else self._test(rows[at:], yardstick, times[at:])
            if self.active != was:
                changes.append((at - 1, self.active))
        return changes

    def _test(self, rows: Rows, yardstick: Yardstick, times: NDArray[np.int64]) -> int:
        """Add rows until an alarm begins; return how many were taken."""
        self.times = self.times or [int(times[0])]
        rest = np.array(self.sums or [0] * self.numbers, dtype=np.int64)
        first = min(CHUNK - self.open, len(rows))
        if self.open + first < CHUNK:
            self.open, self.sums = self.open + first, (rest + rows[:first].sum(axis=0)).tolist()
            return first
        whole = (len(rows) - first) // CHUNK
        taken = first + whole * CHUNK
        sums = [rest + rows[:first].sum(axis=0), *rows[first:taken].reshape(whole, CHUNK, self.numbers).sum(axis=1)]
        before = np.array(self.totals or [[0] * self.numbers], dtype=np.int64)
        totals = np.concatenate([before, before[-1] + np.cumsum(sums, axis=0)])
        ends = [*self.times, *times[first - 1 : taken : CHUNK].tolist()]
        shares, lengths = self._shares(totals, len(before), yardstick)
        high = np.flatnonzero(shares >= 1)
        if len(high):
            self.onset_ms = ends[len(before) + int(high[0]) - int(lengths[high[0]])]
            self._begin(float(shares[high[0]]))
            return first + int(high[0]) * CHUNK
        self.done += len(sums)
        self.share = float(shares[-1])
        self.totals, self.times = totals[-1 - LENGTHS[-1] :].tolist(), ends[-1 - LENGTHS[-1] :]
        self.open, self.sums = len(rows) - taken, rows[taken:].sum(axis=0).tolist()
        return len(rows)

    def _shares(
        self, totals: NDArray[np.int64], known: int, yardstick: Yardstick
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return how far each chunk after the *known* totals is on the way to an alarm, and over how many chunks."""
        places = np.arange(known, len(totals))
        shares, lengths = np.zeros(len(places)), np.zeros(len(places), dtype=np.int64)
        for length, limit in zip(LENGTHS, yardstick.alarm, strict=True):
            due = ((self.done + 1 + places - known) % _step(length) == 0) & (places >= length)
            if due.any():
                ends = places[due]
                moved = totals[ends] - totals[ends - length]
                found = yardstick.distance(moved, length * CHUNK) / limit
                lengths[due] = np.where(found > shares[due], length, lengths[due])
                shares[due] = np.maximum(shares[due], found)
        return shares, lengths

    def _begin(self, share: float) -> None:
        self.active, self.share = True, share
        self.done = self.open = self.quiet = 0
        self.totals, self.times, self.sums = [], [], []

    def _hold(self, rows: Rows, yardstick: Yardstick) -> int:
        """Add rows to the present block, which they do not overfill; return how many were taken."""
        part = rows[: HOLD - self.open]
        sums = np.array(self.sums or [0] * self.numbers, dtype=np.int64) + part.sum(axis=0)
        self.open, self.sums = self.open + len(part), sums.tolist()
        if self.open == HOLD:
            calm = float(yardstick.distance(sums, HOLD)) <= chi2_quantile(CALM, self.numbers)
            self.quiet = self.quiet + 1 if calm else 0
            self.open, self.sums = 0, []
            if self.quiet == QUIET_BLOCKS:
                self.active, self.share = False, 0.0
        return len(part)

    def dump(self) -> list[Any]:
        """Return the state as plain values."""
        return [
            self.done,
            self.open,
            self.sums,
            self.totals,
            self.quiet,
            self.active,
            self.share,
            self.times,
            self.onset_ms,
        ]

    def load(self, state: list[Any]) -> None:
        """Take the state back."""
        self.done, self.open, self.sums, self.totals, self.quiet, self.active, self.share = state[:7]
        self.times, self.onset_ms = state[7:]


def _step(length: int) -> int:
    """Return the chunks between two tests of windows of this length."""
    return max(length // OVERLAP, 1)
