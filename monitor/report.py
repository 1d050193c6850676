"""What the states of a model's shards say, as plain values: the JSON report, and the numbers behind the metrics."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from monitor.accuracy import calibration_error, macro, scores, wilson
from monitor.feedback import DELAY_BOUNDS_S, Delays
from monitor.judgement import Judged, Judgement
from monitor.panes import WINDOWS
from monitor.results import Run
from monitor.slices import day_totals
from monitor.state import State
from monitor.track import Track
from monitor.window_report import maturity, windowed

T = TypeVar("T")

ALL: Final = "all"  # everything since the version was first seen


def summarise(model: str, states: Sequence[State]) -> dict[str, Any]:
    """Return the report of *model*; counts of its shards are added, of detectors the one nearest its alarm is shown.

    Windows end at the newest entry of any shard, not now: a silent model keeps its last numbers.
    """
    now_ms = max((max(s.results.now_ms, s.feedback.now_ms) for s in states), default=0)
    tracks = _by_version(s.results.tracks.items() for s in states)
    judgements = _by_version(s.feedback.judgements.items() for s in states)
    versions = {
        version: _version(tracks.get(version, []), judgements.get(version, []), now_ms)
        for version in sorted(tracks.keys() | judgements.keys())
    }
    return {
        "model": model,
        "newest_entry_ms": now_ms,
        "versions": versions,
        "alarms": [alarm for s in states for alarm in _alarms(s)],
        "shadows": {
            version: runs[version] for version, runs in _runs(s.results.shadows.items() for s in states).items()
        },
        "evaluations": _evaluations(states),
        "feedback": {
            "outcomes": _added(s.feedback.outcomes for s in states),
            "delay_seconds": _delays(states),
            "maturity": {name: maturity(name, _all_delays(states)) for name in WINDOWS},
        },
        "streams": {
            name: {
                "gap_entries": sum(fold.gap for fold in folds),
                "unreadable": _added(fold.unreadable for fold in folds),
                "positions": [fold.position for fold in folds],
            }
            for name, folds in (("results", [s.results for s in states]), ("feedback", [s.feedback for s in states]))
        },
    }


def _version(tracks: list[Track], judgements: list[Judgement], now_ms: int) -> dict[str, Any]:
    recent = {name: _judged(judgements, name, now_ms) for name in WINDOWS}
    judged = Judged.total(judgement.all for judgement in judgements)
    profile = tracks[0].profile if tracks else None
    return {
        "target_accuracy": judgements[0].target if judgements else profile.target if profile else None,
        "reference": profile.digest or None if profile else None,
        "totals": _added(track.totals for track in tracks),
        "windows": {name: windowed(tracks, recent[name], name, now_ms) for name in WINDOWS},
        "slices": _slices(tracks, judgements, now_ms),
        "accuracy": {
            **{name: _accuracy(recent[name]) for name in WINDOWS},
            ALL: _accuracy(judged),
        },
        "sequential": list(_sequential(tracks)),
        "evidence": max((j.sequential.statistic for j in judgements), default=None),
    }


def _sequential(tracks: list[Track]) -> Iterator[dict[str, Any]]:
    """Yield the detectors of every judged feature, each as it is on the shard nearest its alarm."""
    alike = [track for track in tracks if track.profile.digest == tracks[0].profile.digest]
    for index, first in enumerate(tracks[0].watch.watched if tracks else ()):
        watched = [track.watch.watched[index] for track in alike]
        for method, found in (("cusum", [w.level() for w in watched]), ("e-sr", [w.evidence() for w in watched])):
            score, limit = max(found, key=lambda pair: pair[0] / pair[1])
            yield {"feature": first.feature.name, "method": method, "score": score, "threshold": limit}


def _slices(tracks: list[Track], judgements: list[Judgement], now_ms: int) -> dict[str, Any]:
    """Return what is known of each slice over the last day."""
    found: dict[str, dict[str, Any]] = {}
    for name, (ok, errors, abstained, truncated, _) in day_totals((track.slices for track in tracks), now_ms):
        counts = {"answered": ok, "errors": errors, "abstained": abstained, "truncated": truncated}
        found[name] = counts
    for name, (count, correct) in day_totals((j.slices.slices for j in judgements), now_ms):
        accuracy = wilson(correct, count)._asdict() if count else None
        found.setdefault(name, {}).update({"labelled": count, "correct": correct, "accuracy": accuracy})
    return found


def _judged(judgements: Iterable[Judgement], name: str, now_ms: int) -> Judged:
    return Judged.total(part for judgement in judgements for part in judgement.panes.window(name, now_ms))


def _accuracy(judged: Judged) -> dict[str, Any]:
    """Return what a confusion says; without labels everything but the count is None."""
    confusion = {
        true: {predicted: count for predicted, count in sorted(row.items()) if count > 0}
        for true, row in sorted(judged.confusion.items())
        if any(count > 0 for count in row.values())
    }
    count = sum(sum(row.values()) for row in confusion.values())
    correct = sum(row.get(true, 0) for true, row in confusion.items())
    interval = wilson(correct, count)._asdict() if count else None
    return {
        "count": count,
        "correct": correct,
        "ratio": interval,
        "calibration_error": calibration_error(judged.counts, judged.micro, judged.right),
        "confusion": confusion,
        "labels": scores(confusion),
        "macro": macro(scores(confusion)),
    }


def _evaluations(states: Sequence[State]) -> dict[str, Any]:
    """Return every evaluation run by its id: answers counted from results, accuracy from feedback, both exact."""
    answers = _runs(s.results.runs.items() for s in states)
    judged: dict[str, dict[str, list[Judged]]] = {}
    for state in states:
        for run, versions in state.feedback.runs.items():
            for version, counts in versions.items():
                judged.setdefault(run, {}).setdefault(version, []).append(counts)
    return {
        run: {
            version: {
                "answers": answers.get(run, {}).get(version, {}),
                **_accuracy(Judged.total(judged.get(run, {}).get(version, []))),
            }
            for version in sorted(answers.get(run, {}).keys() | judged.get(run, {}).keys())
        }
        for run in dict.fromkeys([*answers, *judged])
    }


def _runs(parts: Iterable[list[tuple[str, Run]]]) -> dict[str, dict[str, dict[str, int]]]:
    result: dict[str, dict[str, dict[str, int]]] = {}
    for part in parts:
        for name, run in part:
            for version, totals in run.totals.items():
                versions = result.setdefault(name, {})
                versions[version] = _added([versions.get(version, {}), totals])
    return result


def _alarms(state: State) -> Iterator[dict[str, Any]]:
    watched = [track.watch.alarms for track in state.results.tracks.values()]
    watched += [judgement.alarms for judgement in state.feedback.judgements.values()]
    for alarms in watched:
        yield from alarms.dump()


def _delays(states: Sequence[State]) -> dict[str, Any]:
    delays = _all_delays(states)
    return {"bounds": list(DELAY_BOUNDS_S), "counts": delays.counts, "sum": delays.sum_ms / 1000}


def _all_delays(states: Sequence[State]) -> Delays:
    found = [state.feedback.delays for state in states]
    counts = [sum(column) for column in zip(*(delays.counts for delays in found), strict=True)]
    return Delays(counts, sum(delays.sum_ms for delays in found)) if found else Delays()


def _added(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def _by_version(parts: Iterable[list[tuple[str, T]]]) -> dict[str, list[T]]:
    result: dict[str, list[T]] = {}
    for part in parts:
        for version, value in part:
            result.setdefault(version, []).append(value)
    return result
