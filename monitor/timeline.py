"""One version over time: a row a pane, by the time of the prediction."""

from typing import Any

from monitor.accuracy import macro, scores, wilson
from monitor.feedback import Delays, share_within
from monitor.judgement import Judged, Judgement
from monitor.panes import Span
from monitor.profiles import LABEL
from monitor.track import ABSTAINED, ERRORS, OK, TRUNCATED, Track
from monitor.window_report import alike, coverage, estimated, scores_of


def over_time(
    tracks: list[Track], judgements: list[Judgement], delays: Delays, now_ms: int, span: Span
) -> list[dict[str, Any]]:
    """Return the panes of *span* that ends at *now_ms*, oldest first; one without answers and labels, too."""
    return [_row(alike(tracks), judgements, delays, now_ms, start, span) for start in span.starts(now_ms)]


def _row(  # noqa: PLR0913, PLR0917 what one pane is made of
    tracks: list[Track], judgements: list[Judgement], delays: Delays, now_ms: int, start_ms: int, span: Span
) -> dict[str, Any]:
    end_ms = start_ms + span.length_ms
    judged = Judged.total(part for j in judgements if (part := j.panes.beginning(start_ms, span)) is not None)
    return {
        "from_ms": start_ms,
        "to_ms": end_ms,
        **_answers(tracks, judged, start_ms, span),
        "labelled": judged.count,
        "correct": judged.correct,
        "accuracy": wilson(judged.correct, judged.count)._asdict() if judged.count else None,
        "macro": macro(scores(judged.confusion)),
        "maturity": share_within(delays, max(0, now_ms - end_ms)),
    }


def _answers(tracks: list[Track], judged: Judged, start_ms: int, span: Span) -> dict[str, Any]:
    found = [(track, pane) for track in tracks if (pane := track.panes.beginning(start_ms, span)) is not None]
    if not found:
        nothing = dict.fromkeys(("answered", "errors", "abstained", "truncated"), 0)
        return {**nothing, "predicted": {}, "label_coverage": None, "estimated_accuracy": None, "drift": {}}
    track = found[0][0]
    pane = sum((pane for _, pane in found), track.empty())
    answered = int(pane[OK])
    histograms = {f.name: track.histogram(pane, index) for index, f in enumerate(track.profile.features)}
    predicted = histograms[LABEL].tolist() if LABEL in histograms else []
    scores = {f.name: scores_of(f, histograms[f.name], ("psi",)) for f in track.profile.features}
    return {
        "answered": answered,
        "errors": int(pane[ERRORS]),
        "abstained": int(pane[ABSTAINED]),
        "truncated": int(pane[TRUNCATED]),
        "predicted": dict(zip(track.profile.labels, predicted, strict=False)),
        "label_coverage": coverage(judged, answered),
        "estimated_accuracy": estimated(track, pane, judged),
        "drift": {name: score["psi"] for name, score in scores.items() if score},
    }
