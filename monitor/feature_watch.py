"""What watches one feature of a version that has a reference: its shape, its level and its ranks."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.channels import Channel, swing
from monitor.dependence import Dependence
from monitor.detectors import Cusum, last_zeros
from monitor.drift import Counts
from monitor.profiles import FeatureProfile
from monitor.ranks import CHUNK, RankDetector, Stakes
from monitor.run_length import SCALE
from monitor.settings import Rules
from monitor.shape import Ease, ShapeWatch, Tested

Bins = NDArray[np.int64]  # (rows, features); -1: not said
Times = NDArray[np.int64]  # of entries, Unix ms
Changes = list[tuple[int, bool, int]]  # row, whether an alarm began, and when its shift did


class ChannelWatch:
    """A CUSUM a side, and the rank detector."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.cusums = [Cusum() for _ in channel.sides]
        self.ranks = RankDetector()
        self.dependence = Dependence(1)
        self.inflation = self.dependence.inflations[0]  # as it was at the end of the last block
        self.swings = [0] * len(channel.sides)

    def at(self, counts: Counts, multiple: float) -> None:
        """Set what the detectors compare with, for run lengths *multiple* times those of the rules."""
        sides = self.channel.sides
        self.steps = np.array([side.steps(swing) for side, swing in zip(sides, self.swings, strict=True)])
        self.heights = [side.at(multiple, self.inflation) for side in sides]
        self.calm = [side.calm(swing) for side, swing in zip(sides, self.swings, strict=True)]
        shares = counts / counts.sum()
        mean = self.channel.ranks @ shares
        widest = max(self.swings) / SCALE * float(np.sqrt((self.channel.ranks - mean) ** 2 @ shares))
        self.stakes = Stakes.of(self.channel.ranks, counts, widest) if widest else self.channel.stakes

    def climb(self, said: NDArray[np.int64], times: Times) -> Changes:
        """Feed every CUSUM; return all their changes."""
        changes: Changes = []
        steps = self.steps[:, said]
        quick = self._climbed(steps, times) if len(said) else []
        for place, last in enumerate(quick):
            cusum = self.cusums[place]
            if last is None:
                found = cusum.update_many(steps[place], self.heights[place], self.calm[place], times)
                changes += [(at, began, cusum.onset_ms) for at, began in found]
            else:
                cusum.total, cusum.onset_ms = last
        return changes

    def _climbed(self, steps: NDArray[np.int64], times: Times) -> list[tuple[int, int] | None]:
        """Return each CUSUM's sum after *steps*, and its onset; None for one that begins an alarm, or is in one."""
        sums = np.cumsum(steps, axis=1) + np.array([[cusum.total] for cusum in self.cusums])
        sums -= np.minimum(np.minimum.accumulate(sums, axis=1), 0)
        below = sums.max(axis=1) < np.array(self.heights)
        onsets = last_zeros(sums, times, [cusum.onset_ms for cusum in self.cusums])
        plain = zip(self.cusums, below.tolist(), sums[:, -1].tolist(), onsets, strict=True)
        return [(last, onset) if low and not cusum.active else None for cusum, low, last, onset in plain]


class FeatureWatch:
    """The detectors of one feature that has a reference."""

    def __init__(self, feature: FeatureProfile, column: int, rules: Rules) -> None:
        self.feature = feature
        self.column = column
        self.channels = [ChannelWatch(channel) for channel in feature.channels]
        self.shape = ShapeWatch(feature.coarse_counts)
        self.block = np.zeros(len(feature.counts), dtype=np.int64)
        self.last = self.block.copy()  # the block before
        self._variances = [self._variance(channel) for channel in feature.channels]
        self._run = rules.drift_run_length
        self._multiple = 1.0
        self.at_multiple(1.0)

    def _variance(self, channel: Channel) -> float:
        shares, scores = self.feature.counts / self.feature.counts.sum(), channel.sides[0].scores
        return max(float(shares @ scores**2 - (shares @ scores) ** 2), 1.0)

    def at_multiple(self, multiple: float) -> None:
        """Run *multiple* times as many entries between false alarms as the rules say."""
        self._multiple = multiple
        self.limit = self._run * multiple / CHUNK * len(self.channels)
        for channel in self.channels:
            channel.at(self.feature.counts, multiple)

    def at_day(self, hours: list[Counts]) -> None:
        """Allow for what the *hours* of a day differed by."""
        swings = [[swing(hours, side.scores) for side in channel.channel.sides] for channel in self.channels]
        if swings != [channel.swings for channel in self.channels]:
            for channel, found in zip(self.channels, swings, strict=True):
                channel.swings = found
            self.at_multiple(self._multiple)

    def cusum_changes(self, said: NDArray[np.int64], times: Times) -> Changes:
        """Feed every side of every channel; return where the first became active and the last one ended."""
        active = sum(side.active for channel in self.channels for side in channel.cusums)
        return _outer([change for channel in self.channels for change in channel.climb(said, times)], active)

    def rank_changes(self, said: NDArray[np.int64], times: Times) -> Changes:
        """Feed the rank detector of every channel."""
        active = sum(channel.ranks.active for channel in self.channels)
        changes: Changes = []
        for channel in self.channels:
            found = channel.ranks.update_many(channel.stakes, said, self.limit, times, channel.inflation)
            changes += [(at, began, channel.ranks.onset_ms) for at, began in found]
        return _outer(changes, active)

    def count(self, said: NDArray[np.int64]) -> None:
        """Count entries of the present block, and note how much they repeat each other."""
        np.add(self.block, np.bincount(said, minlength=len(self.block)), out=self.block)
        for channel, variance in zip(self.channels, self._variances, strict=True):
            channel.dependence.update_many(channel.channel.sides[0].scores[said][:, None], [variance])

    def end_block(self, alpha: float, since_ms: int) -> Tested | None:
        """Test the shape of the block that began at *since_ms*, begin the next; return as `ShapeWatch.block` does."""
        inflation = max(channel.inflation for channel in self.channels)
        widest = max(max(channel.swings) for channel in self.channels) / SCALE
        tested = self.shape.block(self.feature.merged(self.block), alpha, since_ms, Ease(inflation, widest))
        self.last, self.block = self.block, np.zeros_like(self.block)
        if any(channel.inflation != channel.dependence.inflations[0] for channel in self.channels):
            for channel in self.channels:
                channel.inflation = channel.dependence.inflations[0]
            self.at_multiple(self._multiple)
        return tested

    def level(self) -> tuple[float, float]:
        """Return the CUSUM's sum and height, in standard deviations, of the side nearest its own.

        The height is infinite where no side can begin an alarm.
        """
        sides = [
            (side.total, height)
            for channel in self.channels
            for side, height in zip(channel.cusums, channel.heights, strict=True)
        ]
        total, height = max(sides, key=lambda side: (side[0] / side[1], side[1] < math.inf))
        return total / SCALE, height / SCALE

    def evidence(self) -> tuple[float, float]:
        """Return the rank detector's evidence and its limit."""
        return max(channel.ranks.statistic for channel in self.channels), self.limit

    def evidence_of(self, detector: str, said: NDArray[np.int64]) -> dict[str, Any]:
        """Return what an alarm that begins now is told with; *said* are entries that are not yet counted."""
        counts = self.last + self.block + np.bincount(said, minlength=len(self.block))
        heights = [height for channel in self.channels for height in channel.heights]
        side = self._furthest(counts)
        return {
            "threshold": min(heights) / SCALE if detector == "cusum" else self.limit,
            "summary": f"{self.feature.name} has left the level of the reference: {side}",
            "window": f"last {int(counts.sum())} entries",
            "n": int(counts.sum()),
            "reference": self.feature.counts.tolist(),
            "current": counts.tolist(),
            **self.feature.bins(),
        }

    def _furthest(self, counts: Counts) -> str:
        """Return in words where the mean of the last entries is."""
        scores = self.channels[0].channel.sides[0].scores
        moved = float(counts @ scores) / (int(counts.sum()) * SCALE)
        return f"{abs(moved):.2f} standard deviations {'higher' if moved > 0 else 'lower'}"

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "block": self.block.tolist(),
            "last": self.last.tolist(),
            "shape": self.shape.dump(),
            "cusums": [
                [[s.total, s.active, s.held, s.summed, s.quiet, s.onset_ms] for s in channel.cusums]
                for channel in self.channels
            ],
            "ranks": [channel.ranks.dump() for channel in self.channels],
            "dependence": [channel.dependence.dump() for channel in self.channels],
            "inflations": [channel.inflation for channel in self.channels],
            "swings": [channel.swings for channel in self.channels],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take the state back; `at_multiple` follows."""
        self.block, self.last = (np.array(state[name], dtype=np.int64) for name in ("block", "last"))
        self.shape.load(state["shape"])
        for place, channel in enumerate(self.channels):
            channel.cusums = [Cusum(*values) for values in state["cusums"][place]]
            channel.ranks.load(state["ranks"][place])
            channel.dependence.load(state["dependence"][place])
            channel.inflation = state["inflations"][place]
            channel.swings = state["swings"][place]


def _outer(changes: Changes, active: int) -> Changes:
    """Return, of the changes of several detectors of which *active* were on, where all were or became off."""
    found: Changes = []
    for position, began, onset_ms in sorted(changes, key=lambda change: (change[0], not change[1])):
        was, active = active, active + (1 if began else -1)
        if (was == 0) != (active == 0):
            found.append((position, began, onset_ms))
    return found
