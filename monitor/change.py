"""A change of the accuracy, at whatever level: ADWIN over right and wrong answers."""

from typing import Any, Final

from monitor.adwin import Adwin
from monitor.alarms import ONSET, Alarms, Decided, Finding, at_target

DETECTOR: Final = "adwin"
FEATURE: Final = "accuracy"
LASTS: Final = 1000  # labels without a further fall that end the alarm: by then the level is the news


class ChangeWatch:
    """Opens a ticket when the accuracy has fallen, even far above its target; ends when it rises or has settled."""

    def __init__(self, alarms: Alarms) -> None:
        self._adwin = Adwin()
        self._alarms = alarms
        self._since = 0

    def update(self, entry_id: str, made_ms: int, wrong: list[str], *, correct: bool) -> list[Decided]:
        """Take the next label, of a prediction made at *made_ms*; *wrong* are ids of the last wrong answers."""
        before = self._adwin.mean
        changed = self._adwin.update(float(correct), made_ms)
        self._since += 1
        if changed and self._adwin.mean < before:
            self._since = 0
            finding = Finding(
                detector=DETECTOR,
                feature=FEATURE,
                severity="ticket",
                statistic=self._adwin.mean,
                threshold=before,
                summary=f"accuracy has fallen from {before:.3f} to {self._adwin.mean:.3f} "
                f"over the last {self._adwin.width} labels",
                evidence={
                    "window": f"last {self._adwin.width} labels",
                    "n": self._adwin.width,
                    ONSET: self._adwin.onset_ms,
                    **at_target(before, round(self._adwin.mean * self._adwin.width), self._adwin.width),
                    "sample_ids": wrong,
                },
            )
            return self._alarms.begin(finding, entry_id)
        if changed or self._since >= LASTS:
            summary = f"accuracy has been steady at {self._adwin.mean:.3f} or has risen"
            return self._alarms.end(DETECTOR, FEATURE, self._adwin.mean, summary, entry_id)
        return []

    def dump(self) -> list[Any]:
        """Return the state as plain values."""
        return [self._adwin.dump(), self._since]

    def load(self, state: list[Any]) -> None:
        """Take the state back."""
        adwin, self._since = state
        self._adwin.load(adwin)
