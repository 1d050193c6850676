"""One version's predictions: counts by event time, and what watches them for drift."""

from collections import Counter
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from monitor import service
from monitor.accuracy import MICRO
from monitor.alarms import Decided
from monitor.columns import Results, picked
from monitor.drift import Counts
from monitor.feature_watch import Bins
from monitor.panes import DAY, HOUR_MS, MINUTE_MS, WINDOWS, Panes, Span
from monitor.profiles import LABEL, NO_REFERENCE, NUMERIC, FeatureProfile, Profile
from monitor.settings import Rules
from monitor.slices import Slices
from monitor.watch import DriftWatch

OK, ERRORS, ABSTAINED, TRUNCATED, EXPECTED, SPREAD, EMPTY, HEAD = range(
    8
)  # places in a pane; the features' bins follow
SLICE_WIDTH: Final = EXPECTED + 1  # a slice counts what a pane does, up to the expected right answers
MAX_TOTALS: Final = 128  # role, status and label counted by name; the rest is "other"
OTHER: Final = "other"
LEFT: Final = "left behind"  # in place of a reference's mark: no version has it, so counts are never taken for its
SHARES: Final = {"abstained": ABSTAINED, "truncated": TRUNCATED, "empty": EMPTY}  # of the answers
DAY_HOURS: Final = 24
JUDGED_MINUTES: Final = (5, 15, 60)  # the shortest of them with enough answers is judged


class Track:
    """What one version answered; of a shadow everything is counted and nothing watched."""

    def __init__(self, profile: Profile, rules: Rules, *, shadow: bool = False) -> None:
        self.profile = profile
        self.offsets = HEAD + np.cumsum([0, *(len(f.counts) for f in profile.features)])
        self.panes: Panes[Counts] = Panes(self.empty, rules.accuracy_days)
        self.totals: dict[str, int] = {}  # role|status|label
        self.last_ms = 0
        self.left: dict[str, Any] | None = None  # the state on a reference that cannot be read now
        self._paced_hour = 0
        self._rules = rules
        self._shadow = shadow
        self.watch = DriftWatch(Profile(profile.version, profile.target) if shadow else profile, rules)
        self.slices = Slices(SLICE_WIDTH)
        self._timed = {f.name: at for at, f in enumerate(profile.features) if f.name in service.TIMES}
        self._first_hour = 0  # not a whole one
        self._judged_minute = 0  # before which the service was judged last
        self.service = self._fresh_service()

    def _fresh_service(self) -> service.ServiceWatch:
        edges = {name: self.profile.features[at].edges.tolist() for name, at in self._timed.items()}
        return service.ServiceWatch(self.watch.alarms, edges)

    def empty(self) -> Counts:
        """Return a pane of zeros; its last place takes what was not said."""
        return np.zeros(int(self.offsets[-1]) + 1, dtype=np.int64)

    def histogram(self, pane: Counts, feature: int) -> Counts:
        """Return the counts of one feature in a pane or a sum of panes."""
        return pane[self.offsets[feature] : self.offsets[feature + 1]]

    def window(self, span: Span, now_ms: int) -> Counts:
        """Return the sum of the panes of *span* that ends at *now_ms*."""
        return sum(self.panes.span(span, now_ms), self.empty())

    def fold(self, rows: Results, values: NDArray[np.float64], chosen: NDArray[np.int64]) -> list[Decided]:
        """Take the *chosen* rows, which are of this version and of one minute, in order."""
        statuses = picked(rows.statuses, chosen)
        answered = np.array([status == "ok" for status in statuses])
        bins = self._bins(rows, values, chosen)
        bins[~answered] = -1
        self.last_ms = int(rows.times[chosen[-1]])
        expected = self._expected(values[chosen, NUMERIC.index("confidence")])
        expected[~answered] = 0
        flags = rows.flags[chosen] & answered[:, None]  # an error is no answer, whatever it says of itself
        tally = self._tally(answered, flags, expected, bins)
        tally[EMPTY] = (answered & (values[chosen, NUMERIC.index("words")] == 0)).sum()
        for pane in self.panes.at(self.last_ms, self.last_ms):
            np.add(pane, tally, out=pane)
        kinds = Counter(zip(picked(rows.roles, chosen), statuses, picked(rows.labels, chosen), strict=True))
        for (role, status, label), count in kinds.items():  # in the order in which they came first
            add_total(self.totals, role, status, label, count)
        self._add_slices(picked(rows.slices, chosen), answered, flags, expected[:, 0])
        watched = chosen[answered]
        return self.watch.feed(
            bins[answered],
            expected[answered],
            rows.times[watched],
            picked(rows.entry_ids, watched),
            picked(rows.ids, watched),
        )

    def enter_minute(self, now_ms: int, versions: int) -> None:
        """Drop what is too old; at a new hour, set the detectors' run lengths by the traffic of the last day."""
        self.panes.prune(now_ms)
        self.slices.prune(now_ms)
        if now_ms // HOUR_MS != self._paced_hour:
            self._paced_hour = now_ms // HOUR_MS
            self.watch.at_pace(int(self.window(WINDOWS[DAY], now_ms)[OK]), versions)
            self.watch.at_day(self._yesterday())

    def _yesterday(self) -> list[list[Counts]]:
        """Return the histograms of each hour that ended a day ago and is still kept, oldest first.

        What begins now is not among them for a day: a new level is no habit.
        """
        hours = [self._paced_hour - back for back in range(2 * DAY_HOURS - 1, DAY_HOURS - 1, -1)]
        panes = [self.panes.hours[hour] for hour in hours if hour in self.panes.hours]
        return [[self.histogram(pane, feature) for feature in range(len(self.profile.features))] for pane in panes]

    def judge_service(self, now_ms: int, entry_id: str) -> list[Decided]:
        """Judge errors, odd texts and times of the minutes before, every five of them, by the hours before."""
        hour = now_ms // HOUR_MS
        self._first_hour = self._first_hour or hour
        minute = now_ms // MINUTE_MS // JUDGED_MINUTES[0] * JUDGED_MINUTES[0]
        if minute == self._judged_minute:
            return []
        self._judged_minute = minute
        for length in JUDGED_MINUTES:
            panes = [self.panes.minutes[at] for at in range(minute - length, minute) if at in self.panes.minutes]
            now = self._seen(sum(panes, self.empty()))._replace(since_ms=(minute - length) * MINUTE_MS)
            if now.shares["errors"].whole >= service.LEAST:
                break
        # Not the last whole hour: what began in it should not excuse itself.
        before = {at: self._seen(pane) for at, pane in self.panes.hours.items() if self._first_hour < at < hour - 1}
        return self.service.judge(now, before, hour, entry_id)

    def _seen(self, pane: Counts) -> service.Seen:
        answers = int(pane[OK])
        shares = {name: service.Share(int(pane[at]), answers) for name, at in SHARES.items()}
        shares["errors"] = service.Share(int(pane[ERRORS]), answers + int(pane[ERRORS]))
        return service.Seen(shares, {name: self.histogram(pane, at) for name, at in self._timed.items()})

    def silent(self, entry_id: str) -> list[Decided]:
        """End the alarms of a version that stopped answering; what it answers later is judged anew."""
        ended = self.watch.alarms.end_all("the version stopped answering", entry_id)
        if ended:
            multiple = self.watch.multiple
            self.watch = DriftWatch(self.profile, self._rules)
            self.watch.at_multiple(multiple)
            self.service = self._fresh_service()
        return ended

    def _expected(self, confidence: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return p and p (1 - p) of each answer's being right, in millionths; zeros without a calibration."""
        right = self.profile.expected(np.nan_to_num(confidence))
        if right is None:
            return np.zeros((len(confidence), 2), dtype=np.int64)
        return np.stack([right, right * (MICRO - right) // MICRO], axis=1)

    def _add_slices(
        self,
        slices: list[tuple[str, ...]],
        answered: NDArray[np.bool_],
        flags: NDArray[np.bool_],
        expected: NDArray[np.int64],
    ) -> None:
        for tags in dict.fromkeys(slices):
            if not tags:
                continue
            same = np.array([other == tags for other in slices])
            ok = int(answered[same].sum())
            values = (ok, int(same.sum()) - ok, *flags[same].sum(axis=0).tolist(), int(expected[same].sum()))
            for name in self.slices.names_of(tags):
                self.slices.add(name, self.last_ms, values)

    def _bins(self, rows: Results, values: NDArray[np.float64], chosen: NDArray[np.int64]) -> Bins:
        """Return the bin of every row and feature, -1 where it was not said."""
        bins = np.full((len(chosen), len(self.profile.features)), -1, dtype=np.int64)
        for column, feature in enumerate(self.profile.features):
            if feature.name == LABEL:
                place = {label: i for i, label in enumerate(self.profile.labels)}
                bins[:, column] = [place.get(label, -1) for label in picked(rows.labels, chosen)]
            elif feature.name in NUMERIC:
                bins[:, column] = _numeric_bins(feature, values[chosen, NUMERIC.index(feature.name)])
            else:
                coordinate = int(feature.name.rpartition("_")[2])
                bins[:, column] = _numeric_bins(feature, rows.embedding[chosen, coordinate])
        return bins

    def _tally(
        self, answered: NDArray[np.bool_], flags: NDArray[np.bool_], expected: NDArray[np.int64], bins: Bins
    ) -> Counts:
        nowhere = int(self.offsets[-1])
        places = np.where(bins >= 0, bins + self.offsets[:-1], nowhere)
        tally = np.bincount(places.ravel(), minlength=nowhere + 1)
        tally[OK], tally[ERRORS] = answered.sum(), (~answered).sum()
        tally[ABSTAINED], tally[TRUNCATED] = flags.sum(axis=0)
        tally[EXPECTED], tally[SPREAD] = expected.sum(axis=0)
        tally[nowhere] = 0
        return tally

    def renewed(self, profile: Profile) -> "Track":
        """Return what goes on by the reference of *profile*: from where that was left, else from the totals alone."""
        if self.left and self.left["digest"] == profile.digest:
            return Track.loaded(profile, self._rules, self.dump(), shadow=self._shadow)
        fresh = Track(profile, self._rules, shadow=self._shadow)
        fresh.totals = self.totals
        return fresh

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "digest": self.profile.digest,
            "left": self.left,
            "last_ms": self.last_ms,
            "totals": self.totals,
            **self.panes.dump(lambda pane: pane.tolist()),
            "watch": self.watch.dump(),
            "slices": self.slices.dump(),
            "paced_hour": self._paced_hour,
            "first_hour": self._first_hour,
            "judged_minute": self._judged_minute,
            "service": self.service.dump(),
        }

    @classmethod
    def loaded(cls, profile: Profile, rules: Rules, state: dict[str, Any], *, shadow: bool = False) -> Self:
        """Take the state back; counts on the bins of another reference are left behind.

        Then the track keeps its totals, and its alarms, which end when the version is next met. Where no reference can
        be read now, the alarms stay, and what is left is gone on from once it can.
        """
        left = state.get("left")  # which an older monitor does not write
        if left and left["digest"] == profile.digest:
            watch = left["watch"] | {"alarms": state["watch"]["alarms"]}
            state, left = left | {"totals": state["totals"], "last_ms": state["last_ms"], "watch": watch}, None
        same = state["digest"] == profile.digest
        waits = not same and profile.unwatched == NO_REFERENCE and state["digest"] != LEFT
        other = Profile(profile.version, profile.target, digest=LEFT, unwatched=profile.unwatched)
        track = cls(profile if same or waits else other, rules, shadow=shadow)
        track.totals, track.last_ms = state["totals"], state["last_ms"]
        track.left = state if waits else left if same else None
        if not same:
            track.watch.alarms.load(state["watch"]["alarms"])
            return track
        track.panes.load(state, lambda pane: np.array(pane, dtype=np.int64))
        track.watch.load(state["watch"])
        track.slices.load(state["slices"])
        track._paced_hour, track._first_hour = state["paced_hour"], state["first_hour"]
        track._judged_minute = state["judged_minute"]
        track.service.load(state["service"])
        return track


def add_total(totals: dict[str, int], role: str, status: str, label: str, count: int = 1) -> None:
    """Count *count* answers; past `MAX_TOTALS` names a new label is counted as "other"."""
    key = f"{role}|{status}|{label}"
    if key not in totals and len(totals) >= MAX_TOTALS:
        key = f"{role}|{status}|{OTHER}"
    totals[key] = totals.get(key, 0) + count


def _numeric_bins(feature: FeatureProfile, numbers: NDArray[np.float64]) -> Bins:
    found = np.searchsorted(feature.edges, numbers, side="left")
    return np.where(np.isnan(numbers), -1, found)
