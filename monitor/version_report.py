"""What is known of one version, its shards added: windows, accuracy, calibration, slices, detectors, over time."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from monitor.accuracy import BINS, MICRO, calibration_error, macro, scores, wilson
from monitor.feedback import Delays
from monitor.judgement import Judged, Judgement
from monitor.panes import Span
from monitor.profiles import EMBEDDING
from monitor.service import DETECTOR
from monitor.slices import day_totals
from monitor.timeline import over_time
from monitor.track import Track
from monitor.window_report import windowed

ALL: Final = "all"  # everything since the version was first seen
SINCE: Final = "since"  # the window that was asked for


def version_report(
    tracks: list[Track], judgements: list[Judgement], delays: Delays, now_ms: int, spans: Mapping[str, Span]
) -> dict[str, Any]:
    """Return the report of one version; with `SINCE` among the *spans* also the panes of that window one by one."""
    recent = {name: _judged(judgements, span, now_ms) for name, span in spans.items()}
    profile = tracks[0].profile if tracks else None
    found = {
        "target_accuracy": judgements[0].target if judgements else profile.target if profile else None,
        "reference": profile.digest or None if profile else None,
        "unwatched": profile.unwatched if profile else None,
        "labels": list(profile.labels) if profile else [],
        "newest_answer_ms": max((track.last_ms for track in tracks), default=None),
        "newest_label_ms": max((judgement.last_ms for judgement in judgements), default=None),
        "totals": added(track.totals for track in tracks),
        "windows": {name: windowed(tracks, recent[name], span, now_ms) for name, span in spans.items()},
        "slices": _slices(tracks, judgements, now_ms),
        "accuracy": {
            **{name: accuracy_of(judged) for name, judged in recent.items()},
            ALL: accuracy_of(Judged.total(judgement.all for judgement in judgements)),
        },
        "sequential": list(_sequential(tracks)),
        "evidence": max((j.sequential.statistic for j in judgements), default=None),
    }
    if SINCE in spans:
        found["over_time"] = over_time(tracks, judgements, delays, now_ms, spans[SINCE])
    return found


def shadow_report(tracks: list[Track], now_ms: int, spans: Mapping[str, Span]) -> dict[str, Any]:
    """Return what one shadow version answered: the same counts and distances as of a live one, and no accuracy."""
    return {
        "newest_answer_ms": max(track.last_ms for track in tracks),
        "totals": added(track.totals for track in tracks),
        "windows": {name: windowed(tracks, Judged(), span, now_ms) for name, span in spans.items()},
    }


def accuracy_of(judged: Judged) -> dict[str, Any]:
    """Return what a confusion says; without labels everything but the count is None."""
    confusion = {true: dict(sorted(row.items())) for true, row in sorted(judged.confusion.items())}
    count, correct = judged.count, judged.correct
    interval = wilson(correct, count)._asdict() if count else None
    return {
        "count": count,
        "correct": correct,
        "ratio": interval,
        "calibration_error": calibration_error(judged.counts, judged.micro, judged.right),
        "calibration": list(_reliability(judged)),
        "confusion": confusion,
        "labels": _with_intervals(confusion),
        "macro": macro(scores(confusion)),
    }


def added(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return the sum of counts by name."""
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def _reliability(judged: Judged) -> Iterator[dict[str, Any]]:
    """Yield the bins of confidence that hold labels: mean confidence beside the share that was right."""
    for at, (count, micro, right) in enumerate(zip(judged.counts, judged.micro, judged.right, strict=True)):
        if count:
            yield {
                "from": at / BINS,
                "to": (at + 1) / BINS,
                "count": count,
                "confidence": micro / MICRO / count,
                "accuracy": wilson(right, count)._asdict(),
            }


def _with_intervals(confusion: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return the scores of every label, precision and recall with their 95 % intervals."""
    found: dict[str, Any] = {}
    for label, values in scores(confusion).items():
        hits = confusion.get(label, {}).get(label, 0)
        found[label] = dict(values) | {
            "precision_interval": wilson(hits, values["predicted"])._asdict() if values["predicted"] else None,
            "recall_interval": wilson(hits, values["labelled"])._asdict() if values["labelled"] else None,
        }
    return found


def _sequential(tracks: list[Track]) -> Iterator[dict[str, Any]]:
    """Yield the detectors of every judged feature, each as it is on the shard nearest its alarm."""
    alike = [track for track in tracks if track.profile.digest == tracks[0].profile.digest]
    for index, first in enumerate(tracks[0].watch.watched if tracks else ()):
        watched = [track.watch.watched[index] for track in alike]
        for method, found in (("cusum", [w.level() for w in watched]), ("e-sr", [w.evidence() for w in watched])):
            score, limit = max(found, key=lambda pair: pair[0] / pair[1])
            yield {"feature": first.feature.name, "method": method, "score": score, "threshold": limit}
    scans = [track.watch.embedding.level() for track in alike if track.watch.embedding]
    if scans:
        score, limit = max(scans)
        yield {"feature": EMBEDDING, "method": "scan", "score": score, "threshold": limit}
    levels = [track.service.levels() for track in tracks]
    for name in levels[0] if levels else ():
        score, limit = max((level[name] for level in levels), key=lambda pair: pair[0] / pair[1])
        yield {"feature": name, "method": DETECTOR, "score": score, "threshold": limit}


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


def _judged(judgements: Iterable[Judgement], span: Span, now_ms: int) -> Judged:
    return Judged.total(part for judgement in judgements for part in judgement.panes.span(span, now_ms))
