"""What watches one version's predictions for drift: blocks for the shape, CUSUMs for the level. In stream order."""

from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.alarms import Alarms, Decided, Finding
from monitor.detectors import Cusum
from monitor.drift import Counts, enough, psi, psi_threshold
from monitor.profiles import FeatureProfile, Profile
from monitor.run_length import SCALE
from monitor.settings import Rules

QUIET_BLOCKS: Final = 2  # blocks below the threshold that end an alarm of the shape
SAMPLES: Final = 5  # ids kept as evidence

Bins = NDArray[np.int64]  # (rows, features); -1: not said


class DriftWatch:
    """Per feature: PSI on consecutive blocks of entries, and a two-sided CUSUM; both open a ticket.

    A block is tested at ``alpha = block / run length``, a CUSUM's heights are solved for the run length: by default
    either begins falsely once in 1e6 entries of a feature. Values are taken as independent; slow swings of real
    traffic that the reference has not seen are found as drift, because they are.
    """

    def __init__(self, profile: Profile, rules: Rules) -> None:
        self.features = profile.features
        self.alarms = Alarms(profile.version)
        self.cusums = [[(Cusum(), Cusum()) for _ in feature.channels] for feature in self.features]
        self._blocks = [np.zeros(len(feature.counts), dtype=np.int64) for feature in self.features]
        self._in_block = 0
        self._quiet = [0] * len(self.features)
        self._recent: deque[str] = deque(maxlen=SAMPLES)
        self._rules = rules

    def feed(self, bins: Bins, entry_ids: list[str], ids: list[str]) -> list[Decided]:
        """Take answered rows in order: their bins, entry ids and prediction ids."""
        decided: list[Decided] = []
        if not self.features:
            return decided
        ids = [*self._recent, *ids]
        before = len(self._recent)
        for index, feature in enumerate(self.features):
            for row, began in self._changes(index, feature, bins[:, index]):
                samples = ids[max(0, before + row + 1 - SAMPLES) : before + row + 1]
                decided += self._level(feature, began, entry_ids[row], samples)
        start = 0
        while start < len(bins):
            stop = min(start + self._rules.drift_block - self._in_block, len(bins))
            self._fill(bins[start:stop])
            if self._in_block == self._rules.drift_block:
                samples = ids[max(0, before + stop - SAMPLES) : before + stop]
                decided += self._shape(entry_ids[stop - 1], samples)
            start = stop
        self._recent.extend(ids[-SAMPLES:])
        return decided

    def level(self, index: int) -> tuple[float, float]:
        """Return the CUSUM's sum and height of feature *index*, in standard deviations, of the side nearest its own."""
        pairs = zip(self.features[index].channels, self.cusums[index], strict=True)
        sides = [
            (side.total, height)
            for channel, pair in pairs
            for side, height in zip(pair, (channel.height_up, channel.height_down), strict=True)
        ]
        total, height = max(sides, key=lambda side: side[0] / side[1])
        return total / SCALE, height / SCALE

    def _changes(self, index: int, feature: FeatureProfile, column: Bins) -> list[tuple[int, bool]]:
        """Return (row, began) where the first side of a feature becomes active and where the last one ends."""
        said = np.flatnonzero(column >= 0)
        chosen = column[said]
        pairs = self.cusums[index]
        active = sum(side.active for pair in pairs for side in pair)
        changes: list[tuple[int, bool]] = []
        for channel, (up, down) in zip(feature.channels, pairs, strict=True):
            changes += up.update_many(channel.steps_up[chosen], channel.height_up)
            changes += down.update_many(channel.steps_down[chosen], channel.height_down)
        result = []
        for position, began in sorted(changes, key=lambda change: (change[0], not change[1])):
            was, active = active, active + (1 if began else -1)
            if (was == 0) != (active == 0):
                result.append((int(said[position]), began))
        return result

    def _level(self, feature: FeatureProfile, began: bool, entry_id: str, samples: list[str]) -> list[Decided]:  # noqa: FBT001
        if not began:
            return self.alarms.end("cusum", feature.name, 0.0, f"{feature.name} is at its reference again", entry_id)
        height = min(min(channel.height_up, channel.height_down) for channel in feature.channels) / SCALE
        finding = Finding(
            detector="cusum",
            feature=feature.name,
            severity="ticket",
            statistic=height,
            threshold=height,
            summary=f"{feature.name} has left the level of the reference",
            evidence={"window": "stream", "sample_ids": samples},
        )
        return self.alarms.begin(finding, entry_id)

    def _fill(self, bins: Bins) -> None:
        self._in_block += len(bins)
        for index, block in enumerate(self._blocks):
            column = bins[:, index]
            np.add(block, np.bincount(column[column >= 0], minlength=len(block)), out=block)

    def _shape(self, entry_id: str, samples: list[str]) -> list[Decided]:
        """Test the full block and begin the next one."""
        alpha = self._rules.drift_block / self._rules.drift_run_length
        decided: list[Decided] = []
        for index, (feature, block) in enumerate(zip(self.features, self._blocks, strict=True)):
            if enough(block):
                score, threshold = psi(feature.counts, block), psi_threshold(feature.counts, block, alpha)
                self._quiet[index] = 0 if score > threshold else self._quiet[index] + 1
                if score > threshold:
                    finding = _shape_finding(feature, score, threshold, block, samples)
                    decided += self.alarms.begin(finding, entry_id)
                elif self._quiet[index] >= QUIET_BLOCKS:
                    summary = f"{feature.name} is distributed like the reference again"
                    decided += self.alarms.end("psi", feature.name, score, summary, entry_id)
            block[:] = 0
        self._in_block = 0
        return decided

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "blocks": [block.tolist() for block in self._blocks],
            "in_block": self._in_block,
            "quiet": self._quiet,
            "cusums": [[[[s.total, s.active] for s in pair] for pair in pairs] for pairs in self.cusums],
            "recent": list(self._recent),
            "alarms": self.alarms.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        self._blocks = [np.array(block, dtype=np.int64) for block in state["blocks"]]
        self._in_block, self._quiet = state["in_block"], state["quiet"]
        self._recent.extend(state["recent"])
        self.alarms.load(state["alarms"])
        for pairs, dumped in zip(self.cusums, state["cusums"], strict=True):
            for pair, sides in zip(pairs, dumped, strict=True):
                for side, (total, active) in zip(pair, sides, strict=True):
                    side.total, side.active = total, active


def _shape_finding(
    feature: FeatureProfile, score: float, threshold: float, block: Counts, samples: list[str]
) -> Finding:
    return Finding(
        detector="psi",
        feature=feature.name,
        severity="ticket",
        statistic=score,
        threshold=threshold,
        summary=f"{feature.name} is distributed unlike the reference (PSI {score:.3f}, chance alone {threshold:.3f})",
        evidence={
            "window": f"{int(block.sum())} entries",
            "n": int(block.sum()),
            "counts": block.tolist(),
            "reference": feature.counts.tolist(),
            "sample_ids": samples,
        },
    )
