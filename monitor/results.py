"""The fold over a results stream: what was predicted, on what, and whether it still looks like the reference."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from broker.events import Alert
from monitor.alarms import Decided, in_order
from monitor.aside import FAILED, Aside
from monitor.batches import read_results
from monitor.columns import Entry, Results, picked
from monitor.panes import MINUTE_MS, Recent
from monitor.profiles import Profile
from monitor.settings import Rules
from monitor.track import OTHER, Track, add_total

MAX_VERSIONS: Final = 8
MAX_RUNS: Final = 20
RETIRE_MS: Final = 15 * MINUTE_MS  # a version silent for so long, while others answer, no longer holds an alarm

ProfileOf = Callable[[str], Profile]


@dataclass(slots=True)
class Run:
    """What one evaluation run answered: version to ``role|status|label`` to count."""

    totals: dict[str, dict[str, int]] = field(default_factory=dict)

    def count(self, version: str, role: str, status: str, label: str) -> None:
        """Count one answer."""
        add_total(self.totals.setdefault(named_in(self.totals, version), {}), role, status, label)


def named_in(run: Collection[str], version: str) -> str:
    """Return the name under which *run*, whose versions these are, counts *version*: past `MAX_VERSIONS` "other"."""
    return version if version in run or len(run) < MAX_VERSIONS else OTHER


class ResultsFold:
    """The state after a prefix of the stream; the same however the prefix was cut into batches."""

    def __init__(self, rules: Rules, profile_of: ProfileOf) -> None:
        self.position = "0-0"
        self.entries_read = 0  # of all that were ever added to the stream, up to the position
        self.gap = 0  # of those, trimmed before they were read
        self.now_ms = 0  # of the newest entry
        self.tracks: Recent[Track] = Recent(MAX_VERSIONS)
        self.shadows: Recent[Track] = Recent(MAX_VERSIONS)  # counted beside the live answers, never among them
        self.runs: Recent[Run] = Recent(MAX_RUNS)
        self.aside = Aside()
        self._rules = rules
        self._profile_of = profile_of

    def fold(self, entries: Sequence[Entry]) -> list[Alert]:
        """Take the next entries of the stream; return the alarms that began or ended, in stream order."""
        rows = read_results(entries)
        self.aside.put(rows.unreadable)
        live, shadow, runs = _sorted_out(rows)
        for i in runs:
            self._count_run(rows.evaluations[i] or "", rows, i)
        values = rows.values()
        if shadow:
            self._fold_shadows(rows, values, shadow)
        decided = self._fold_live(rows, values, live) if len(live) else []
        if entries:
            self.position = entries[-1][0].decode()
            self.entries_read += len(entries)
        return in_order(decided)

    def _count_run(self, run: str, rows: Results, at: int) -> None:
        """Count an answer of an evaluation run, which no live window or detector sees."""
        if run not in self.runs:
            self.runs.put(run, Run())
        self.runs.name(run)
        self.runs[run].count(rows.versions[at], rows.roles[at], rows.statuses[at], rows.labels[at])

    def _fold_shadows(self, rows: Results, values: NDArray[np.float64], chosen: list[int]) -> None:
        """Count what shadow versions answered, version and minute by minute."""
        for (version, _), group in groupby(chosen, lambda i: (rows.versions[i], int(rows.times[i]) // MINUTE_MS)):
            profile, same = self._profile_of(version), list(group)
            if version not in self.shadows or self.shadows[version].profile.digest != profile.digest:
                known = version in self.shadows
                fresh = self.shadows[version].renewed(profile) if known else Track(profile, self._rules, shadow=True)
                self.shadows.put(version, fresh)
            self.shadows.name(version)
            self.shadows[version].fold(rows, values, np.array(same, dtype=np.int64))
            self.shadows[version].panes.prune(self.shadows[version].last_ms)

    def _fold_live(self, rows: Results, values: NDArray[np.float64], live: NDArray[np.int64]) -> list[Decided]:
        alerts: list[Decided] = []
        times = rows.times[live]
        ends = [*(np.flatnonzero(np.diff(times // MINUTE_MS)) + 1).tolist(), len(live)]
        start = 0
        for end in ends:
            alerts += self._enter_minute(int(times[start]), rows.entry_ids[live[start]])
            while start < end:
                alerts += self._watch(rows.versions[live[start]], rows.entry_ids[live[start]])
                stop = self._known_until(rows, live, start, end)
                alerts += self._fold_known(rows, values, live[start:stop])
                self.now_ms = int(times[stop - 1])
                start = stop
        return alerts

    def _known_until(self, rows: Results, live: NDArray[np.int64], start: int, end: int) -> int:
        """Return the first position from *start* whose version `_watch` has to see, so that versions come in order."""
        versions = picked(rows.versions, live[start:end])
        unknown = [version for version in set(versions) if not self._current(version)]
        return start + min((versions.index(version) for version in unknown), default=end - start)

    def _current(self, version: str) -> bool:
        """Whether *version* has a track on the bins of its reference as it is now."""
        return version in self.tracks and self.tracks[version].profile.digest == self._profile_of(version).digest

    def _fold_known(self, rows: Results, values: NDArray[np.float64], chosen: NDArray[np.int64]) -> list[Decided]:
        """Fold rows of one minute whose versions are all watched."""
        versions = picked(rows.versions, chosen)
        newest = dict.fromkeys(reversed(versions))
        alerts: list[Decided] = []
        for version in reversed(newest):
            self.tracks.name(version)
            same = chosen if len(newest) == 1 else chosen[[other == version for other in versions]]
            alerts += self.tracks[version].fold(rows, values, same)
        return alerts

    def _enter_minute(self, now_ms: int, entry_id: str) -> list[Decided]:
        if now_ms // MINUTE_MS == self.now_ms // MINUTE_MS:
            return []
        before, self.now_ms = self.now_ms, now_ms
        alerts: list[Decided] = []
        for track in self.tracks.values():
            track.enter_minute(now_ms, len(self.tracks))
            alerts += track.judge_service(now_ms, entry_id)
            if before - track.last_ms > RETIRE_MS:  # others answered; a night without anything ends no alarm
                alerts += track.silent(entry_id)
        return alerts

    def _watch(self, version: str, entry_id: str) -> list[Decided]:
        """Make sure that *version* has a track, on the bins of its reference as it is now."""
        if self._current(version):
            return []
        profile = self._profile_of(version)
        if version in self.tracks:
            track = self.tracks[version]
            fresh = track.renewed(profile)
            self.tracks.put(version, fresh)
            if fresh.watch.alarms.active:  # of the same reference, which is known again
                return []
            return track.watch.alarms.end_all("the version has another reference", entry_id)
        dropped = self.tracks.put(version, Track(profile, self._rules))
        return dropped.watch.alarms.end_all("the version stopped answering", entry_id) if dropped else []

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
            "aside": self.aside.dump(),
            "tracks": [[version, track.dump()] for version, track in self.tracks.items()],
            "shadows": [[version, track.dump()] for version, track in self.shadows.items()],
            "runs": [[name, run.totals] for name, run in self.runs.items()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        self.position, self.entries_read = state["position"], state["entries_read"]
        self.gap, self.now_ms = state["gap"], state["now_ms"]
        self.aside.load(state["aside"])
        for version, dumped in state["tracks"]:
            self.tracks.put(version, Track.loaded(self._profile_of(version), self._rules, dumped))
        for version, dumped in state["shadows"]:
            self.shadows.put(version, Track.loaded(self._profile_of(version), self._rules, dumped, shadow=True))
        for name, totals in state["runs"]:
            self.runs.put(name, Run(totals))


def _sorted_out(rows: Results) -> tuple[NDArray[np.int64], list[int], list[int]]:
    """Return which rows are of live traffic, of shadows and of evaluation runs."""
    if rows.evaluations.count(None) == len(rows.ids) and "shadow" not in rows.roles:
        return np.arange(len(rows.ids)), [], []
    live: list[int] = []
    shadow: list[int] = []
    runs: list[int] = []
    for i, (role, run) in enumerate(zip(rows.roles, rows.evaluations, strict=True)):
        (runs if run is not None else shadow if role == "shadow" else live).append(i)
    return np.array(live, dtype=np.int64), shadow, runs
