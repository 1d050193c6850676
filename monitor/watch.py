"""What watches one version's predictions for drift: shape, level and ranks of each feature. In stream order."""

from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.alarms import Alarms, Decided, Finding
from monitor.detectors import Cusum
from monitor.drift import Counts
from monitor.estimate import Estimate, EstimateWatch
from monitor.profiles import FeatureProfile, Profile
from monitor.ranks import CHUNK, RankDetector
from monitor.run_length import SCALE
from monitor.settings import Rules
from monitor.shape import ShapeWatch

SAMPLES: Final = 5  # ids kept as evidence
FAMILIES: Final = ("psi", "cusum", "e-sr")  # detectors of each feature, with equal shares of the false alarms

Bins = NDArray[np.int64]  # (rows, features); -1: not said
Changes = list[tuple[int, bool]]  # row and whether an alarm began


class FeatureWatch:
    """The detectors of one feature that has a reference."""

    def __init__(self, feature: FeatureProfile, column: int, rules: Rules) -> None:
        self.feature = feature
        self.column = column
        self.cusums = [(Cusum(), Cusum()) for _ in feature.channels]
        self.ranks = [RankDetector() for _ in feature.channels]
        self.shape = ShapeWatch(feature.counts)
        self.block = np.zeros(len(feature.counts), dtype=np.int64)
        self._run = rules.drift_run_length
        self.at_multiple(1.0)

    def at_multiple(self, multiple: float) -> None:
        """Run *multiple* times as many entries between false alarms as the rules say."""
        self.heights = [channel.heights(multiple) for channel in self.feature.channels]
        self.limit = self._run * multiple / CHUNK * len(self.feature.channels)

    def cusum_changes(self, said: Bins) -> Changes:
        """Feed both sides of every channel; return where the first became active and the last one ended."""
        changes: Changes = []
        active = sum(side.active for pair in self.cusums for side in pair)
        for channel, (up, down), (high, low) in zip(self.feature.channels, self.cusums, self.heights, strict=True):
            changes += up.update_many(channel.steps_up[said], high, channel.calm)
            changes += down.update_many(channel.steps_down[said], low, channel.calm)
        return _outer(changes, active)

    def rank_changes(self, said: Bins) -> Changes:
        """Feed the rank detector of every channel."""
        changes: Changes = []
        active = sum(detector.active for detector in self.ranks)
        for channel, detector in zip(self.feature.channels, self.ranks, strict=True):
            changes += detector.update_many(channel.stakes, said, self.limit)
        return _outer(changes, active)

    def level(self) -> tuple[float, float]:
        """Return the CUSUM's sum and height, in standard deviations, of the side nearest its own."""
        sides = [
            (side.total, height)
            for pair, heights in zip(self.cusums, self.heights, strict=True)
            for side, height in zip(pair, heights, strict=True)
        ]
        total, height = max(sides, key=lambda side: side[0] / side[1])
        return total / SCALE, height / SCALE

    def evidence(self) -> tuple[float, float]:
        """Return the rank detector's evidence and its limit."""
        return max(detector.statistic for detector in self.ranks), self.limit

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "block": self.block.tolist(),
            "shape": self.shape.dump(),
            "cusums": [[[s.total, s.active, s.held, s.summed, s.quiet] for s in pair] for pair in self.cusums],
            "ranks": [detector.dump() for detector in self.ranks],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        self.block = np.array(state["block"], dtype=np.int64)
        self.shape.load(state["shape"])
        self.cusums = [(Cusum(*up), Cusum(*down)) for up, down in state["cusums"]]
        for detector, dumped in zip(self.ranks, state["ranks"], strict=True):
            detector.load(dumped)


class DriftWatch:
    """Per feature PSI on blocks, CUSUMs and rank bets, which open tickets; several with the estimate, a page.

    Each of the three begins falsely once in the run length of the rules, or once in `false_alarm_days` for all
    detectors together if at the traffic seen that is rarer. PSI and CUSUM take values as independent.
    """

    def __init__(self, profile: Profile, rules: Rules) -> None:
        self.alarms = Alarms(profile.version)
        self.watched = [FeatureWatch(f, i, rules) for i, f in enumerate(profile.features) if f.judged]
        self.estimate = EstimateWatch(profile.target, self.alarms)
        self.multiple = 1.0
        self._sums = (0, 0)  # expected and spread of the block, millionths
        self._in_block = 0
        self._recent: deque[str] = deque(maxlen=SAMPLES)
        self._rules = rules
        self._estimates = profile.calibration is not None

    def at_pace(self, entries_a_day: int, versions: int) -> None:
        """Set the run lengths for this much traffic, shared by so many versions."""
        detectors = len(FAMILIES) * len(self.watched) * versions
        wanted = entries_a_day * self._rules.false_alarm_days * detectors
        self.at_multiple(max(1.0, wanted / self._rules.drift_run_length))

    def at_multiple(self, multiple: float) -> None:
        """Run *multiple* times as many entries between false alarms as the rules say."""
        self.multiple = multiple
        for watched in self.watched:
            watched.at_multiple(multiple)

    def feed(self, bins: Bins, expected: NDArray[np.int64], entry_ids: list[str], ids: list[str]) -> list[Decided]:
        """Take answered rows in order: bins, (expected, spread) in millionths, entry ids and prediction ids."""
        decided: list[Decided] = []
        if not self.watched:
            return decided
        start = 0
        while start < len(bins):
            stop = min(start + self._rules.drift_block - self._in_block, len(bins))
            decided += self._feed(bins[start:stop], expected[start:stop], entry_ids[start:stop], ids[start:stop])
            start = stop
        return decided

    def _feed(self, bins: Bins, expected: NDArray[np.int64], entry_ids: list[str], ids: list[str]) -> list[Decided]:
        """Take rows of one block."""
        decided: list[Decided] = []
        before, ids = len(self._recent), [*self._recent, *ids]
        for watched in self.watched:
            column = bins[:, watched.column]
            rows = np.flatnonzero(column >= 0)
            said = column[rows]
            for detector, changes in (("cusum", watched.cusum_changes(said)), ("e-sr", watched.rank_changes(said))):
                for at, began in changes:
                    row = int(rows[at])
                    samples = ids[max(0, before + row + 1 - SAMPLES) : before + row + 1]
                    decided += self._changed(watched, detector, began, entry_ids[row], samples)
            np.add(watched.block, np.bincount(said, minlength=len(watched.block)), out=watched.block)
        self._recent.extend(ids[before:])
        right, spread = expected.sum(axis=0).tolist()
        self._sums = (self._sums[0] + right, self._sums[1] + spread)
        self._in_block += len(bins)
        if self._in_block == self._rules.drift_block:
            decided += self._end_block(entry_ids[-1], list(self._recent))
        return decided

    def _changed(
        self,
        watched: FeatureWatch,
        detector: str,
        began: bool,  # noqa: FBT001
        entry_id: str,
        samples: list[str],
    ) -> list[Decided]:
        name = watched.feature.name
        if not began:
            return self.alarms.end(detector, name, 0.0, f"{name} is at its reference again", entry_id)
        threshold = watched.limit
        if detector == "cusum":
            threshold = min(min(heights) for heights in watched.heights) / SCALE
        evidence = {"window": "stream", "reference": watched.feature.counts.tolist(), "sample_ids": samples}
        summary = f"{name} has left the level of the reference"
        return self.alarms.begin(_ticket(detector, name, threshold, threshold, summary, evidence), entry_id)

    def _end_block(self, entry_id: str, samples: list[str]) -> list[Decided]:
        """Test the full block and begin the next one."""
        alpha = self._rules.drift_block / (self._rules.drift_run_length * self.multiple)
        decided: list[Decided] = []
        for watched in self.watched:
            was, tested = watched.shape.active, watched.shape.block(watched.block, alpha)
            if tested and watched.shape.active != was:
                decided += self._shape(watched, tested, entry_id, samples)
            watched.block[:] = 0
        if self._estimates:
            found = Estimate.of(self._in_block, *self._sums)
            decided += self.estimate.block(self._in_block, found, entry_id, samples)
        self._sums, self._in_block = (0, 0), 0
        return decided

    def _shape(
        self, watched: FeatureWatch, tested: tuple[float, float, Counts], entry_id: str, samples: list[str]
    ) -> list[Decided]:
        name, (score, threshold, counts) = watched.feature.name, tested
        if not watched.shape.active:
            return self.alarms.end("psi", name, score, f"{name} is distributed like the reference again", entry_id)
        summary = f"{name} is distributed unlike the reference (PSI {score:.3f}, chance alone {threshold:.3f})"
        evidence = {
            "window": f"{int(counts.sum())} entries",
            "n": int(counts.sum()),
            "counts": counts.tolist(),
            "reference": watched.feature.counts.tolist(),
            "sample_ids": samples,
        }
        return self.alarms.begin(_ticket("psi", name, score, threshold, summary, evidence), entry_id)

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "features": [watched.dump() for watched in self.watched],
            "estimate": self.estimate.dump(),
            "multiple": self.multiple,
            "sums": self._sums,
            "in_block": self._in_block,
            "recent": list(self._recent),
            "alarms": self.alarms.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        for watched, dumped in zip(self.watched, state["features"], strict=True):
            watched.load(dumped)
        self.estimate.load(state["estimate"])
        self.at_multiple(state["multiple"])
        self._sums, self._in_block = (state["sums"][0], state["sums"][1]), state["in_block"]
        self._recent.extend(state["recent"])
        self.alarms.load(state["alarms"])


def _outer(changes: Changes, active: int) -> Changes:
    """Return, of the changes of several detectors of which *active* were on, where all were or became off."""
    found: Changes = []
    for position, began in sorted(changes, key=lambda change: (change[0], not change[1])):
        was, active = active, active + (1 if began else -1)
        if (was == 0) != (active == 0):
            found.append((position, began))
    return found


def _ticket(  # noqa: PLR0913, PLR0917 the parts of one finding
    detector: str, feature: str, statistic: float, threshold: float, summary: str, evidence: dict[str, Any]
) -> Finding:
    return Finding(
        detector=detector,
        feature=feature,
        severity="ticket",
        statistic=statistic,
        threshold=threshold,
        summary=summary,
        evidence=evidence,
    )
