"""One version's labels: confusion by the time of the prediction, and the two detectors of too low an accuracy."""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final, Self

from monitor.accuracy import BINS, confidence_bin, wilson
from monitor.alarms import ONSET, Alarms, Decided, Finding, at_target
from monitor.change import ChangeWatch
from monitor.columns import Label
from monitor.detectors import Z_999, ShiryaevRoberts, WilsonRule
from monitor.panes import HOUR_MS, Panes
from monitor.profiles import Profile
from monitor.settings import Rules
from monitor.slice_accuracy import SliceAccuracy

SAMPLES: Final = 10  # ids of wrong answers kept as evidence
FEATURE: Final = "accuracy"
LEVEL: Final = (f"e-sr {FEATURE}", f"wilson {FEATURE}")
DAY_HOURS: Final = 24
MAX_LABELS: Final = 256  # names beside those of the version: true and predicted ones that anybody may write
FAMILIES: Final = 3  # level, change, slices: equal shares of the false alarms


@dataclass(slots=True)
class Judged:
    """Whole counts of labelled predictions; they add."""

    confusion: dict[str, dict[str, int]] = field(default_factory=dict)  # true label to predicted label to count
    counts: list[int] = field(default_factory=lambda: [0] * BINS)  # by confidence
    micro: list[int] = field(default_factory=lambda: [0] * BINS)  # summed confidence, millionths
    right: list[int] = field(default_factory=lambda: [0] * BINS)
    expected: int = 0  # how likely each was right by the calibration, summed, millionths
    estimated: int = 0  # for how many that could be said

    @property
    def count(self) -> int:
        """Labelled predictions."""
        return sum(self.counts)

    @property
    def correct(self) -> int:
        """Labelled predictions that were right."""
        return sum(self.right)

    def has_room(self, label: Label, known: Collection[str]) -> bool:
        """Tell whether the names of *label* are counted already, *known* as the version's, or not too many."""
        if label.predicted in self.confusion.get(label.label, {}):
            return True
        names = {label.label, label.predicted, *self.confusion, *chain.from_iterable(self.confusion.values())}
        return len(names.difference(known)) <= MAX_LABELS

    def holds(self, label: Label) -> bool:
        """Tell whether the label that *label* replaces may be among those counted here."""
        previous, at = label.previous or "", confidence_bin(label.micro)
        alike = self.right[at] if previous == label.predicted else self.counts[at] - self.right[at]
        return alike > 0 and self.confusion.get(previous, {}).get(label.predicted, 0) > 0

    def add(self, label: Label, expected: int | None = None, *, replaces: bool = False) -> None:
        """Count a label, *expected* right in millionths; or let it take the place of the one before, if that is held.

        So no cell falls below zero, and the sum over the cells is the sum over the bins.
        """
        at = confidence_bin(label.micro)
        if replaces and label.previous is not None:
            self._move(label.previous, label.predicted, at, -1)
        else:
            self.counts[at] += 1
            self.micro[at] += label.micro
            if expected is not None:
                self.expected += expected
                self.estimated += 1
        self._move(label.label, label.predicted, at, 1)

    def _move(self, true: str, predicted: str, at: int, change: int) -> None:
        row = self.confusion.setdefault(true, {})
        row[predicted] = row.get(predicted, 0) + change
        if not row[predicted]:
            del row[predicted]
        if not row:
            del self.confusion[true]
        if true == predicted:
            self.right[at] += change

    def dump(self) -> list[Any]:
        """Return the counts as plain values."""
        return [self.confusion, self.counts, self.micro, self.right, self.expected, self.estimated]

    @classmethod
    def total(cls, parts: Iterable["Judged"]) -> "Judged":
        """Return the sum of *parts*."""
        whole = cls()
        for part in parts:
            for true, row in part.confusion.items():
                into = whole.confusion.setdefault(true, {})
                for predicted, count in row.items():
                    into[predicted] = into.get(predicted, 0) + count
            whole.expected += part.expected
            whole.estimated += part.estimated
            for at in range(BINS):
                whole.counts[at] += part.counts[at]
                whole.micro[at] += part.micro[at]
                whole.right[at] += part.right[at]
        return whole


class Judgement:
    """What is known of one version's accuracy."""

    def __init__(self, profile: Profile, rules: Rules) -> None:
        self.target = profile.target
        self.panes: Panes[Judged] = Panes(Judged, rules.accuracy_days)
        self.all = Judged()
        self.arrivals: dict[int, int] = {}  # hour since 1970 to the first labels that came in it; of the last day
        self.last_ms = 0
        self.multiple = 1.0  # of the run length: more when so many labels come that it would be over too soon
        self.sequential = ShiryaevRoberts(profile.target)
        self.rule = WilsonRule(profile.target, rules.accuracy_window, rules.minimum_labels)
        self.alarms = Alarms(profile.version)
        self.change = ChangeWatch(self.alarms)
        self.slices = SliceAccuracy(profile.target, rules, self.alarms)
        self._since_alarm = 0  # first labels
        self._wrong: deque[str] = deque(maxlen=SAMPLES)
        self._rules = rules
        self.profile = profile

    @property
    def limit(self) -> float:
        """The evidence at which the page begins."""
        return self._rules.accuracy_run_length * self.multiple

    def add(self, label: Label) -> list[Decided]:
        """Count a label in the panes of its prediction; a first label is also shown to the detectors."""
        decided: list[Decided] = []
        if label.entry_ms // HOUR_MS != self.last_ms // HOUR_MS:
            decided += self.slices.prune(label.entry_ms, label.entry_id)
            self._pace(label.entry_ms)
        self.last_ms = label.entry_ms
        if label.previous is None:
            hour = label.entry_ms // HOUR_MS
            self.arrivals[hour] = self.arrivals.get(hour, 0) + 1
        expected = self.profile.expected_of(label.micro)
        counted = [self.all, *self.panes.at(label.made_ms, label.entry_ms)]
        replaces = self._replaces(label, counted)
        for part in counted:
            part.add(label, expected, replaces=replaces)
        decided += self.slices.add(label, self.multiple, replaces=replaces)
        return decided + self._detect(label) if label.previous is None else decided

    def _replaces(self, label: Label, counted: list[Judged]) -> bool:
        """Tell whether the label that *label* replaces was counted: in every pane and slice of it, or in none.

        Where a gap had it, or an earlier state of the version, the one that came now counts as a first one.
        """
        if label.previous is None or not all(part.holds(label) for part in counted):
            return False
        hour = self.panes.hours.get(label.made_ms // HOUR_MS, Judged())
        right = label.previous == label.predicted
        return self.slices.holds(label, hour.correct if right else hour.count - hour.correct, right=right)

    def _pace(self, now_ms: int) -> None:
        """Set the run length for what came in the last day: level, change and slices share the false alarms."""
        oldest = now_ms // HOUR_MS - DAY_HOURS
        self.arrivals = {hour: count for hour, count in self.arrivals.items() if hour > oldest}
        wanted = sum(self.arrivals.values()) * self._rules.false_alarm_days * FAMILIES
        self.multiple = max(1.0, wanted / self._rules.accuracy_run_length)

    def _detect(self, label: Label) -> list[Decided]:
        correct = label.label == label.predicted
        self.rule.update(label.label, label.predicted)
        if not correct:
            self._wrong.append(label.id)
        level = [key for key in LEVEL if key in self.alarms.active]
        self._since_alarm = self._since_alarm + 1 if level else 0
        paging = LEVEL[0] in level
        if not paging:
            self.sequential.update(correct=correct, at_ms=label.made_ms)
        decided = self.change.update(label.entry_id, label.made_ms, list(self._wrong), correct=correct)
        statistic = self.sequential.statistic
        if not paging and statistic >= self.limit:
            decided += self.alarms.begin(self._finding("e-sr", statistic), label.entry_id)
        if self.rule.below:
            decided += self.alarms.begin(self._finding("wilson", self._upper), label.entry_id)
        elif level and self.rule.recovered(self._since_alarm):
            decided += self._end(label.entry_id)
        return decided

    def _end(self, entry_id: str) -> list[Decided]:
        """End both alarms: of the labels since they began, the target's share is right, far above where they begin."""
        since = min(self._since_alarm, len(self.rule.recent))
        summary = f"accuracy of the last {since} labels is at its target {self.target:.2f} again"
        if f"e-sr {FEATURE}" in self.alarms.active:
            self.sequential.reset()
        return [
            *self.alarms.end("e-sr", FEATURE, self.sequential.statistic, summary, entry_id),
            *self.alarms.end("wilson", FEATURE, self._upper, summary, entry_id),
        ]

    @property
    def _upper(self) -> float:
        return wilson(self.rule.correct, len(self.rule.recent), Z_999).upper

    def _finding(self, detector: str, statistic: float) -> Finding:
        count, page = len(self.rule.recent), detector == "e-sr"
        return Finding(
            detector=detector,
            feature=FEATURE,
            severity="page" if page else "ticket",
            statistic=statistic,
            threshold=self.limit if page else self.target,
            summary=f"accuracy is below its target {self.target:.2f}: "
            f"{self.rule.correct} of the last {count} labels agree",
            evidence={
                "window": f"last {count} labels",
                "n": count,
                "correct": self.rule.correct,
                ONSET: self.sequential.onset_ms,
                "target": self.target,
                "wilson_999": [round(bound, 6) for bound in wilson(self.rule.correct, count, Z_999)],
                "confusion": self.rule.confusion(),
                **at_target(self.target, self.rule.correct, count),
                "sample_ids": list(self._wrong),
            },
        )

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "target": self.target,
            "last_ms": self.last_ms,
            "all": self.all.dump(),
            **self.panes.dump(Judged.dump),
            "arrivals": {str(hour): count for hour, count in self.arrivals.items()},
            "sequential": self.sequential.dump(),
            "recent": self.rule.dump(),
            "since_alarm": self._since_alarm,
            "wrong": list(self._wrong),
            "alarms": self.alarms.dump(),
            "multiple": self.multiple,
            "change": self.change.dump(),
            "slices": self.slices.dump(),
        }

    @classmethod
    def loaded(cls, profile: Profile, rules: Rules, state: dict[str, Any]) -> Self:
        """Take the state back; evidence against another target is not kept. A profile without labels knows of none."""
        if not profile.labels:
            profile = replace(profile, target=state["target"])
        judgement = cls(profile, rules)
        judgement.last_ms, judgement.all = state["last_ms"], Judged(*state["all"])
        judgement.panes.load(state, lambda pane: Judged(*pane))
        judgement.arrivals = {int(hour): count for hour, count in state["arrivals"].items()}
        if state["target"] == profile.target:
            judgement.sequential.load(state["sequential"])
        judgement.rule.load(state["recent"])
        judgement._since_alarm = state["since_alarm"]
        judgement._wrong.extend(state["wrong"])
        judgement.alarms.load(state["alarms"])
        judgement.multiple = state["multiple"]
        judgement.change.load(state["change"])
        judgement.slices.load(state["slices"], same_target=state["target"] == profile.target)
        return judgement
