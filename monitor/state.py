"""Everything known of one model's one shard, and its form in the snapshot."""

import logging
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import orjson

from broker.errors import MalformedEntryError, NewerSchemaError
from monitor.feedback import FeedbackFold
from monitor.judgement import Judged, Judgement
from monitor.panes import DAY_MS, HOUR_MS
from monitor.profiles import Profile
from monitor.results import ProfileOf, ResultsFold
from monitor.settings import Rules
from monitor.track import Track

STATE_VERSION: Final = 5
WITH_SHADOWS: Final = 3  # the version that first had windows of shadows...
WITH_DETECTORS: Final = 4  # ...today's features and detectors...

log = logging.getLogger(__name__)


class State:
    """One fold per stream, disjoint: neither reads what the other wrote, so their order does not matter."""

    def __init__(self, rules: Rules, profile_of: ProfileOf) -> None:
        self.rules = rules
        self._profile_of = profile_of
        self.results = ResultsFold(rules, profile_of)
        self.feedback = FeedbackFold(rules, profile_of)
        self.alerts = 0  # begun or ended so far
        self.other_logs = 0  # how often the log was another one, its unread end lost

    @property
    def folds(self) -> tuple[ResultsFold | FeedbackFold, ...]:
        """Results, feedback."""
        return self.results, self.feedback

    def fold_of(self, stream: str) -> ResultsFold | FeedbackFold:
        """Return the fold of *stream*, "results" or "feedback"."""
        return self.results if stream == "results" else self.feedback

    def keep(self, stream: str) -> bytes:
        """Return a copy of the fold of *stream* as it is now."""
        return orjson.dumps(self.fold_of(stream).dump())

    def put_back(self, stream: str, kept: bytes) -> None:
        """Begin again from a copy of the fold of *stream*."""
        if stream == "results":
            self.results = ResultsFold(self.rules, self._profile_of)
        else:
            self.feedback = FeedbackFold(self.rules, self._profile_of)
        self.fold_of(stream).load(orjson.loads(kept))

    def encode(self) -> bytes:
        """Return the snapshot: the same bytes for the same entries, however they were read."""
        state: dict[str, Any] = {
            "state_version": STATE_VERSION,
            "alerts": self.alerts,
            "other_logs": self.other_logs,
            "results": self.results.dump(),
            "feedback": self.feedback.dump(),
        }
        return orjson.dumps(state, option=orjson.OPT_SORT_KEYS)

    def decode(self, snapshot: bytes) -> None:
        """Take a snapshot back into a new state.

        Raises:
            NewerSchemaError: a newer Observa wrote it.
            MalformedEntryError: it is damaged.

        """
        try:
            self._decode(orjson.loads(snapshot))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise MalformedEntryError(
                "the monitor's snapshot is damaged; delete it (`just redis DEL`, then the key observa:{MODEL}:monitor) "
                "to count again from the start of the log"
            ) from error

    def _decode(self, state: dict[str, Any]) -> None:
        if state["state_version"] > STATE_VERSION:
            raise NewerSchemaError(
                f"the monitor's snapshot has version {state['state_version']}, this monitor reads {STATE_VERSION}; "
                "start the monitor that wrote it"
            )
        if state["state_version"] < STATE_VERSION:
            _upgrade(state)
        self.alerts, self.other_logs = state["alerts"], state["other_logs"]
        self.results.load(state["results"])
        self.feedback.load(state["feedback"])

    def begin_other_log(self) -> None:
        """Drop the positions, keep the counts: what was seen happened, in whichever log."""
        self.other_logs += 1
        for fold in self.folds:
            fold.position, fold.entries_read = "0-0", 0
            fold.gap += 1  # at least; nobody can say how many entries the old log still held


def versions_of(snapshot: bytes) -> set[str]:
    """Return the versions that *snapshot* holds something of; none where it is damaged, which decoding it says."""
    try:
        state = orjson.loads(snapshot)
        results, feedback = state["results"], state["feedback"]
        return {version for version, _ in (*results["tracks"], *results["shadows"], *feedback["judgements"])}
    except (ValueError, KeyError, TypeError):
        return set()


def _upgrade(state: dict[str, Any]) -> None:
    """Turn an older snapshot into one of this version."""
    if state["state_version"] < WITH_DETECTORS:
        _renew_detectors(state)
    for fold in (state["results"], state["feedback"]):
        fold["aside"] = [fold.pop("unreadable"), []]
    for _, track in (*state["results"]["tracks"], *state["results"]["shadows"]):
        track["days"] = _days(track["hours"], lambda panes: np.sum(panes, axis=0).tolist())
    for _, judgement in state["feedback"]["judgements"]:
        _mend(judgement)
        judgement["days"] = _days(judgement["hours"], lambda panes: Judged.total(Judged(*p) for p in panes).dump())
        judgement["arrivals"] = {hour: sum(pane[1]) for hour, pane in judgement["hours"].items()}
    for _, versions in state["feedback"]["runs"]:
        versions.update({version: _sound(judged) for version, judged in versions.items()})


def _renew_detectors(state: dict[str, Any]) -> None:
    """Let windows and drift detectors begin anew: they are on other features; alarms end with the next entry."""
    log.warning("the snapshot is of an older monitor: counts and labels are kept, drift windows begin anew")
    was, rules = state["state_version"], Rules()
    for _, track in state["results"]["tracks"]:
        track["digest"] = f"version {was} {track['digest']}"
    shadows = []
    for version, known in state["results"]["shadows"]:
        totals = known.get("totals", {}) if was == WITH_SHADOWS else known.get(version, {})
        track = Track(Profile(version, rules.target_accuracy, digest=f"version {was}"), rules, shadow=True).dump()
        shadows.append([version, track | {"totals": totals}])
    state["results"]["shadows"] = shadows
    fresh = Judgement(Profile("", rules.target_accuracy), rules)
    for _, judgement in state["feedback"]["judgements"]:
        judgement["sequential"] = [judgement.pop("sums"), *fresh.sequential.dump()[1:]]
        judgement["change"] = fresh.change.dump()
        if was == 1:
            judgement.update(multiple=1.0, slices=fresh.slices.dump())
        judgement["slices"]["watched"] = {}


def _days(hours: dict[str, Any], total: Callable[[list[Any]], Any]) -> dict[str, Any]:
    """Return the panes of days, from those of the hours that are kept."""
    found: dict[int, list[Any]] = {}
    for hour, pane in hours.items():
        found.setdefault(int(hour) * HOUR_MS // DAY_MS, []).append(pane)
    return {str(day): total(panes) for day, panes in found.items()}


def _mend(judgement: dict[str, Any]) -> None:
    """Let counts that a correction had brought below zero begin anew: older monitors took away what was not there."""
    judgement["all"] = _sound(judgement["all"])
    for ring in ("minutes", "hours"):
        judgement[ring] = {index: _sound(pane) for index, pane in judgement[ring].items()}
    for _, hours in judgement["slices"]["slices"]:
        hours.update({hour: [count, min(max(right, 0), count)] for hour, (count, right) in hours.items()})


def _sound(judged: list[Any]) -> list[Any]:
    """Return the counts without empty cells, or none at all where a part exceeds its whole."""
    confusion, counts, _, right, *_ = judged
    cells = [count for row in confusion.values() for count in row.values()]
    if (
        min(cells, default=0) < 0
        or sum(cells) != sum(counts)
        or any(not 0 <= r <= n for r, n in zip(right, counts, strict=True))
    ):
        return Judged().dump()
    rows = {true: {predicted: n for predicted, n in row.items() if n} for true, row in confusion.items()}
    return [{true: row for true, row in rows.items() if row}, *judged[1:]]
