"""The fold over a feedback stream: who was right, how late the labels came, and what evaluation runs say."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broker.events import Alert
from broker.forgetting import ERASED
from monitor.alarms import Decided, in_order
from monitor.aside import CROWDED, FAILED, Aside
from monitor.columns import Entry, Label, as_mapping, read_label
from monitor.judgement import Judged, Judgement
from monitor.panes import DAY_MS, MINUTE_MS, Recent
from monitor.results import MAX_RUNS, MAX_VERSIONS, RETIRE_MS, ProfileOf, named_in
from monitor.settings import Rules

DELAY_BOUNDS_S: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600)


@dataclass(slots=True)
class Delays:
    """From a prediction to its label, both as entries of the log; whole milliseconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DELAY_BOUNDS_S) + 1))
    sum_ms: int = 0

    def add(self, delay_ms: int) -> None:
        """Count one delay."""
        self.counts[bisect_left(DELAY_BOUNDS_S, delay_ms / 1000)] += 1
        self.sum_ms += delay_ms


def share_within(delays: Delays, within_ms: int) -> float | None:
    """Return the share of the labels so far that came within so long; at least, as each counts as its bucket's end."""
    total = sum(delays.counts)
    there = sum(n for n, bound in zip(delays.counts, DELAY_BOUNDS_S, strict=False) if 1000 * bound <= within_ms)
    return there / total if total else None


class FeedbackFold:
    """The state after a prefix of the stream; the same however the prefix was cut into batches."""

    def __init__(self, rules: Rules, profile_of: ProfileOf) -> None:
        self.position = "0-0"
        self.entries_read = 0  # of all that were ever added to the stream, up to the position
        self.gap = 0  # of those, trimmed before they were read
        self.now_ms = 0  # of the newest entry
        self.judgements: Recent[Judgement] = Recent(MAX_VERSIONS)
        self.runs: Recent[dict[str, Judged]] = Recent(MAX_RUNS)  # run to version to counts
        self.outcomes: dict[str, int] = {}
        self.aside = Aside()
        self.delays = Delays()
        self._rules = rules
        self._profile_of = profile_of

    def fold(self, entries: Sequence[Entry]) -> list[Alert]:
        """Take the next entries of the stream; return the alarms that began or ended, in stream order."""
        decided: list[Decided] = []
        for entry in entries:
            if ERASED in as_mapping(entry[1]):  # stands where somebody was forgotten
                continue
            label = read_label(entry)
            if isinstance(label, str):
                self.aside.put([(entry[0].decode(), label)])
            else:
                decided += self._take(label)
        if entries:
            self.position = entries[-1][0].decode()
            self.entries_read += len(entries)
        return in_order(decided)

    def _take(self, label: Label) -> list[Decided]:
        if label.evaluation is not None:
            self._evaluate(label, label.evaluation)
            return []
        decided = self._enter_minute(label)
        if label.made_ms // DAY_MS < label.entry_ms // DAY_MS - self._rules.accuracy_days:
            self._count("late")  # older than any pane: it says nothing of the model now
            return decided
        decided += self._watch(label)
        judgement = self.judgements[label.version]
        if not judgement.all.has_room(label, self._profile_of(label.version).labels):
            self.aside.put([(label.entry_id, CROWDED)])
            return decided
        outcome = "duplicate" if label.previous == label.label else "replaced"
        self._count("joined" if label.previous is None else outcome)
        if label.previous is None:
            self.delays.add(label.entry_ms - label.made_ms)
        return decided + judgement.add(label)

    def _count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def _evaluate(self, label: Label, run: str) -> None:
        if run not in self.runs:
            self.runs.put(run, {})
        self.runs.name(run)
        version = named_in(self.runs[run], label.version)
        judged = self.runs[run].setdefault(version, Judged())
        if not judged.has_room(label, self._profile_of(version).labels):
            self.aside.put([(label.entry_id, CROWDED)])
            return
        self._count("evaluation")
        judged.add(label, replaces=label.previous is not None and judged.holds(label))

    def _enter_minute(self, label: Label) -> list[Decided]:
        before, self.now_ms = self.now_ms, label.entry_ms
        if label.entry_ms // MINUTE_MS == before // MINUTE_MS:
            return []
        decided: list[Decided] = []
        for judgement in self.judgements.values():
            judgement.panes.prune(label.entry_ms)
            if before - judgement.last_ms > RETIRE_MS:  # others got some
                decided += judgement.alarms.end_all("the version gets no labels any more", label.entry_id)
        return decided

    def _watch(self, label: Label) -> list[Decided]:
        """Make sure that the version has a judgement, against its target as it is now."""
        version, profile = label.version, self._profile_of(label.version)
        if version in self.judgements:
            self.judgements.name(version)
            known = self.judgements[version]
            if not profile.labels:  # its manifest cannot be read now
                return []
            if known.target == profile.target:
                known.profile = profile
                return []
            judgement = Judgement.loaded(profile, self._rules, known.dump())
            self.judgements.put(version, judgement)
            return judgement.alarms.end_all("the version has another target", label.entry_id)
        dropped = self.judgements.put(version, Judgement(profile, self._rules))
        return dropped.alarms.end_all("the version gets no labels any more", label.entry_id) if dropped else []

    def skip(self, entry_id: str) -> None:
        """Pass by the next entry, which the fold cannot take."""
        self.aside.put([(entry_id, FAILED)])
        self.position = entry_id
        self.entries_read += 1

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "position": self.position,
            "entries_read": self.entries_read,
            "gap": self.gap,
            "now_ms": self.now_ms,
            "outcomes": self.outcomes,
            "aside": self.aside.dump(),
            "delays": [self.delays.counts, self.delays.sum_ms],
            "judgements": [[version, judgement.dump()] for version, judgement in self.judgements.items()],
            "runs": [
                [run, {version: judged.dump() for version, judged in versions.items()}]
                for run, versions in self.runs.items()
            ],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        self.position, self.entries_read = state["position"], state["entries_read"]
        self.gap, self.now_ms = state["gap"], state["now_ms"]
        self.outcomes = state["outcomes"]
        self.aside.load(state["aside"])
        self.delays = Delays(*state["delays"])
        for version, dumped in state["judgements"]:
            self.judgements.put(version, Judgement.loaded(self._profile_of(version), self._rules, dumped))
        for run, versions in state["runs"]:
            self.runs.put(run, {version: Judged(*dumped) for version, dumped in versions.items()})
