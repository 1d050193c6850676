"""Accuracy without labels: what a calibrated confidence lets one expect, and when that is a reason to wake somebody."""

import math
from dataclasses import dataclass
from typing import Any, Final

from monitor.accuracy import MICRO
from monitor.alarms import ONSET, Alarms, Decided, Finding, at_target
from monitor.detectors import Z_999
from monitor.profiles import KINDS

DETECTOR: Final = "estimate"
FEATURE: Final = "estimated_accuracy"
KINDS_NEEDED: Final = 2  # kinds of features that must have drifted
QUIET_BLOCKS: Final = 4  # blocks without the reason that end the page


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected share of right answers and its sampling error (NannyML's CBPE of accuracy)."""

    ratio: float
    error: float  # standard deviation of the realised accuracy around it, were the calibration right

    @classmethod
    def of(cls, count: int, expected: int, spread: int) -> "Estimate":
        """Return the estimate from sums over answers: millionths of p and of p (1 - p)."""
        return cls(expected / MICRO / count, math.sqrt(max(spread, 0) / MICRO) / count)


class EstimateWatch:
    """Pages when two kinds of features have drifted and the estimate is below the target beyond chance.

    Confidence-based estimation assumes that the labels still follow from the texts as they did: it sees no concept
    drift and is too hopeful on strange texts. So it never pages alone, and shows its error as soon as labels come.
    """

    def __init__(self, target: float, alarms: Alarms) -> None:
        self._target = target
        self._alarms = alarms
        self._quiet = 0

    def block(self, count: int, estimate: Estimate, entry_id: str, samples: list[str]) -> list[Decided]:
        """Judge one block of *count* answers."""
        drifted = sorted({alert.feature for alert in self._alarms.active.values() if alert.feature in KINDS})
        kinds = {KINDS[feature] for feature in drifted}
        worried = len(kinds) >= KINDS_NEEDED and estimate.ratio + Z_999 * estimate.error < self._target
        self._quiet = 0 if worried else self._quiet + 1
        if worried:
            finding = Finding(
                detector=DETECTOR,
                feature=FEATURE,
                severity="page",
                statistic=estimate.ratio,
                threshold=self._target,
                summary=f"{', '.join(drifted)} have drifted, and the accuracy estimated without labels is "
                f"{estimate.ratio:.2f}, below the target {self._target:.2f}",
                evidence={"window": f"{count} entries", "n": count, "features": drifted, ONSET: self._onset_ms()}
                | at_target(self._target, round(estimate.ratio * count), count)
                | {"sample_ids": samples},
            )
            return self._alarms.begin(finding, entry_id)
        if self._quiet >= QUIET_BLOCKS:
            summary = "fewer features drift, or the estimated accuracy is at its target again"
            return self._alarms.end(DETECTOR, FEATURE, estimate.ratio, summary, entry_id)
        return []

    def _onset_ms(self) -> int:
        """Return when the first of the features left its reference."""
        drifted = [alert.evidence for alert in self._alarms.active.values() if alert.feature in KINDS]
        return min(int(evidence[ONSET]) for evidence in drifted)

    def dump(self) -> Any:
        """Return the state as a plain value."""
        return self._quiet

    def load(self, state: Any) -> None:
        """Take the state back."""
        self._quiet = state
