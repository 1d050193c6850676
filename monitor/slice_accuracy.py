"""The accuracy of slices: each is watched alone, at a share of the false alarms, and opens a ticket."""

from dataclasses import dataclass, field
from typing import Any, Final

from monitor.accuracy import wilson
from monitor.alarms import ONSET, Alarms, Decided, Finding, at_target
from monitor.columns import Label
from monitor.detectors import ShiryaevRoberts
from monitor.panes import HOUR_MS
from monitor.settings import Rules
from monitor.slices import HOURS, MAX_SLICES, OTHER, Slices

LABELLED, CORRECT = range(2)
PREFIX: Final = "accuracy/"  # before the slice, as the feature of its alarms
SAMPLES: Final = 5  # ids of wrong answers kept as evidence


@dataclass(slots=True)
class Watched:
    """The evidence against one slice, and the labels since its alarm began."""

    detector: ShiryaevRoberts
    labels: int = 0  # of the present block, while an alarm is on
    right: int = 0
    wrong: list[str] = field(default_factory=list)  # ids of the last wrong answers


def _past(label: Label) -> bool:
    """Tell whether the hour of the prediction is no longer kept."""
    return label.made_ms // HOUR_MS <= label.entry_ms // HOUR_MS - HOURS


class SliceAccuracy:
    """One e-detector a slice; its alarm ends when the target's share of a block of labels was right."""

    def __init__(self, target: float, rules: Rules, alarms: Alarms) -> None:
        self.slices = Slices(2)
        self._target = target
        self._minimum = rules.minimum_labels
        self._run = rules.accuracy_run_length
        self._alarms = alarms
        self._watched: dict[str, Watched] = {}

    def holds(self, label: Label, alike: int, *, right: bool) -> bool:
        """Tell whether each slice of *label* may hold the label before it, which was *right* or wrong.

        *alike* labels of its hour were so; where another slice has all of them, the one before was not among them.
        """
        if _past(label):
            return True
        names = {self._name(tag, label.made_ms, right=right) for tag in label.slices}
        others = self.slices.hours.keys() - names
        return None not in names and all(self._alike(name, label.made_ms, right=right) < alike for name in others)

    def add(self, label: Label, multiple: float, *, replaces: bool) -> list[Decided]:
        """Count a label, in the hour of its prediction, or restate the one before; a first one is also evidence."""
        if _past(label):
            return []
        right, was_right = label.label == label.predicted, label.previous == label.predicted
        if replaces:
            for name in {self._name(tag, label.made_ms, right=was_right) or OTHER for tag in label.slices}:
                self.slices.add(name, label.made_ms, (0, right - was_right))
            return []
        decided: list[Decided] = []
        for name in self.slices.names_of(label.slices):
            self.slices.add(name, label.made_ms, (1, int(right)))
            if name != OTHER and label.previous is None:
                watched = self._watched.setdefault(name, Watched(ShiryaevRoberts(self._target)))
                if not right:
                    watched.wrong = [*watched.wrong[1 - SAMPLES :], label.id]
                decided += self._detect(name, watched, label, self._run * multiple * MAX_SLICES)
        return decided

    def _name(self, tag: str, made_ms: int, *, right: bool) -> str | None:
        """Return the slice that may hold a label so: *tag*, or "other", where it was while there was no room."""
        return next((name for name in (tag, OTHER) if self._alike(name, made_ms, right=right) > 0), None)

    def _alike(self, name: str, made_ms: int, *, right: bool) -> int:
        labelled, correct = self.slices.counted(name, made_ms)
        return correct if right else labelled - correct

    def prune(self, now_ms: int, entry_id: str) -> list[Decided]:
        """Forget slices that were silent for a day."""
        decided: list[Decided] = []
        for name in self.slices.prune(now_ms):
            if self._watched.pop(name, None):
                decided += self._alarms.end("e-sr", PREFIX + name, 0.0, f"{name} gets no labels any more", entry_id)
        return decided

    def _detect(self, name: str, watched: Watched, label: Label, limit: float) -> list[Decided]:
        right = label.label == label.predicted
        if f"e-sr {PREFIX}{name}" in self._alarms.active:
            watched.labels += 1
            watched.right += right
            if watched.labels < self._minimum:
                return []
            over = watched.right >= self._target * watched.labels
            watched.labels = watched.right = 0
            summary = f"accuracy of {name} is at its target {self._target:.2f} again"
            return self._alarms.end("e-sr", PREFIX + name, 0.0, summary, label.entry_id) if over else []
        watched.detector.update(correct=right, at_ms=label.made_ms)
        if watched.detector.statistic < limit:
            return []
        finding = self._finding(name, watched, limit)
        watched.detector.reset()
        return self._alarms.begin(finding, label.entry_id)

    def _finding(self, name: str, watched: Watched, limit: float) -> Finding:
        hours = self.slices.hours[name].values()
        count, right = sum(hour[LABELLED] for hour in hours), sum(hour[CORRECT] for hour in hours)
        return Finding(
            detector="e-sr",
            feature=PREFIX + name,
            severity="ticket",
            statistic=watched.detector.statistic,
            threshold=limit,
            summary=f"accuracy of {name} is below the target {self._target:.2f}: "
            f"{right} of {count} labels of the day agree",
            evidence={
                "window": "24h",
                "n": count,
                "correct": right,
                ONSET: watched.detector.onset_ms,
                "wilson_95": list(wilson(right, count)),
                **at_target(self._target, right, count),
                "sample_ids": watched.wrong,
            },
        )

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "slices": self.slices.dump(),
            "watched": {name: [w.detector.dump(), w.labels, w.right, w.wrong] for name, w in self._watched.items()},
        }

    def load(self, state: dict[str, Any], *, same_target: bool) -> None:
        """Take the state back; evidence against another target is not kept."""
        self.slices.load(state["slices"])
        if same_target:
            for name, (detector, *rest) in state["watched"].items():
                self._watched[name] = Watched(ShiryaevRoberts(self._target), *rest)
                self._watched[name].detector.load(detector)
