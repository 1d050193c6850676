"""What the states of a model's shards say, as plain values: the JSON report, and the numbers behind the metrics."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from monitor.feedback import DELAY_BOUNDS_S, Delays
from monitor.judgement import Judged
from monitor.panes import Span, windows
from monitor.results import Run
from monitor.state import State
from monitor.version_report import SINCE, accuracy_of, added, shadow_report, version_report
from monitor.window_report import maturity

T = TypeVar("T")


class Asked(NamedTuple):
    """What part of a report is wanted: one version, and a window of one's own with its panes; None: as it is."""

    version: str | None = None
    since_ms: int | None = None  # at most `Rules.accuracy_days` before the newest entry are kept


def newest_entry_ms(states: Sequence[State]) -> int:
    """Return the time of the newest entry of any shard, 0 before the first one."""
    return max((max(s.results.now_ms, s.feedback.now_ms) for s in states), default=0)


def summarise(model: str, states: Sequence[State], asked: Asked = Asked()) -> dict[str, Any]:  # noqa: B008 immutable
    """Return the report of *model*; counts of its shards are added, of detectors the one nearest its alarm is shown.

    Windows end at the newest entry of any shard, not now: a silent model keeps its last numbers.
    """
    now_ms = newest_entry_ms(states)
    days = states[0].rules.accuracy_days
    spans = windows(days)
    if asked.since_ms is not None:
        spans[SINCE] = Span.since(asked.since_ms, now_ms, days)
    tracks = _by_version(s.results.tracks.items() for s in states)
    judgements = _by_version(s.feedback.judgements.items() for s in states)
    delays = _all_delays(states)
    versions = {
        version: version_report(tracks.get(version, []), judgements.get(version, []), delays, now_ms, spans)
        for version in sorted(tracks.keys() | judgements.keys())
        if asked.version in {None, version}
    }
    return {
        "model": model,
        "newest_entry_ms": now_ms,
        "versions": versions,
        "alarms": [alarm for s in states for alarm in _alarms(s)],
        "shadows": {
            version: shadow_report(shadow, now_ms, spans)
            for version, shadow in _by_version(s.results.shadows.items() for s in states).items()
            if asked.version in {None, version}
        },
        "evaluations": _evaluations(states),
        "feedback": {
            "outcomes": added(s.feedback.outcomes for s in states),
            "delay_seconds": _delays(delays),
            "maturity": {name: maturity(span, delays) for name, span in spans.items()},
        },
        "streams": {
            name: {
                "gap_entries": sum(fold.gap for fold in folds),
                "unreadable": added(fold.aside.counts for fold in folds),
                "put_aside": [
                    {"entry": entry, "reason": reason} for fold in folds for entry, reason in fold.aside.newest
                ],
                "positions": [fold.position for fold in folds],
            }
            for name, folds in (("results", [s.results for s in states]), ("feedback", [s.feedback for s in states]))
        },
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
                **accuracy_of(Judged.total(judged.get(run, {}).get(version, []))),
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
                versions[version] = added([versions.get(version, {}), totals])
    return result


def _alarms(state: State) -> Iterator[dict[str, Any]]:
    watched = [track.watch.alarms for track in state.results.tracks.values()]
    watched += [judgement.alarms for judgement in state.feedback.judgements.values()]
    for alarms in watched:
        yield from alarms.dump()


def _delays(delays: Delays) -> dict[str, Any]:
    return {"bounds": list(DELAY_BOUNDS_S), "counts": delays.counts, "sum": delays.sum_ms / 1000}


def _all_delays(states: Sequence[State]) -> Delays:
    found = [state.feedback.delays for state in states]
    counts = [sum(column) for column in zip(*(delays.counts for delays in found), strict=True)]
    return Delays(counts, sum(delays.sum_ms for delays in found)) if found else Delays()


def _by_version(parts: Iterable[list[tuple[str, T]]]) -> dict[str, list[T]]:
    result: dict[str, list[T]] = {}
    for part in parts:
        for version, value in part:
            result.setdefault(version, []).append(value)
    return result
