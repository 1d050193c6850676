"""What one window of one version says: shares, features against their reference, and the estimated accuracy."""

from collections.abc import Collection
from typing import Any, Final

from monitor import drift
from monitor.drift import WINDOW_ALPHA, Counts, enough
from monitor.estimate import Estimate
from monitor.feedback import DELAY_BOUNDS_S, Delays
from monitor.judgement import Judged
from monitor.panes import Span
from monitor.profiles import LABEL, FeatureProfile
from monitor.track import ABSTAINED, ERRORS, EXPECTED, OK, SPREAD, TRUNCATED, Track

METHODS: Final = ("psi", "js", "ks", "wasserstein")


def alike(tracks: list[Track]) -> list[Track]:
    """Return the shards that can be added: where a reference was replaced just now, those that have the first one's."""
    return [track for track in tracks if track.profile.digest == tracks[0].profile.digest]


def windowed(tracks: list[Track], judged: Judged, span: Span, now_ms: int) -> dict[str, Any]:
    """Return the report of the window *span* that ends at *now_ms*; *judged* are its labels."""
    if not tracks:
        return {}
    pane = sum((track.window(span, now_ms) for track in alike(tracks)), tracks[0].empty())
    answered = int(pane[OK])
    return {
        "from_ms": span.starts(now_ms)[0],
        "to_ms": now_ms,
        "answered": answered,
        "errors": int(pane[ERRORS]),
        "abstained": int(pane[ABSTAINED]),
        "truncated": int(pane[TRUNCATED]),
        "label_coverage": coverage(judged, answered),
        "estimated_accuracy": estimated(tracks[0], pane, judged),
        "features": {
            feature.name: _feature(feature, tracks[0].histogram(pane, index))
            | (
                {"labels": list(tracks[0].profile.labels)}
                if feature.name == LABEL
                else {"edges": feature.edges.tolist()}
            )
            for index, feature in enumerate(tracks[0].profile.features)
        },
    }


def coverage(judged: Judged, answered: int) -> float | None:
    """Return the labelled share of the answers; each labelled prediction is one, also where a gap has its result."""
    answers = max(answered, judged.count)
    return judged.count / answers if answers else None


def maturity(span: Span, delays: Delays) -> float | None:
    """Return the share of a window's labels that have come by now, if they come as late as they have so far.

    Of the labels that take d seconds, those for the newest d seconds of a window of L are still missing: (L - d) / L
    are there. Each delay counts as its bucket's upper bound, so the truth is at least this.
    """
    total = sum(delays.counts)
    seconds = span.length_ms * span.panes / 1000
    there = sum(n * max(0.0, 1 - bound / seconds) for n, bound in zip(delays.counts, DELAY_BOUNDS_S, strict=False))
    return there / total if total else None


def estimated(track: Track, pane: Counts, judged: Judged) -> dict[str, float] | None:
    """Return the accuracy expected of every answer; of the labelled ones also its distance from the realised."""
    if track.profile.calibration is None or not pane[OK]:
        return None
    estimate = Estimate.of(int(pane[OK]), int(pane[EXPECTED]), int(pane[SPREAD]))
    found = {"ratio": estimate.ratio, "sampling_error": estimate.error}
    if judged.estimated and judged.estimated == judged.count:
        labelled = Estimate.of(judged.estimated, judged.expected, 0)
        found["error"] = abs(labelled.ratio - judged.correct / judged.count)
    return found


def _feature(feature: FeatureProfile, recent: Counts) -> dict[str, Any]:
    scores = scores_of(feature, recent)
    psi = scores.get("psi", {"score": None, "threshold": None})
    return {
        "psi": psi["score"],
        "threshold": psi["threshold"],
        "scores": scores,
        "judged": feature.judged,
        "count": int(recent.sum()),
        "reference": feature.counts.tolist(),
        "recent": recent.tolist(),
    }


def scores_of(
    feature: FeatureProfile, recent: Counts, methods: Collection[str] = METHODS
) -> dict[str, dict[str, float]]:
    """Return each distance with what chance alone stays below; nothing where too little is known.

    The label's bins have no order, which the last two need.
    """
    if not feature.judged:
        return {}
    reference, recent = feature.coarse_counts, feature.merged(recent)
    if not enough(recent):
        return {}
    found = {
        "psi": (drift.psi(reference, recent), drift.psi_threshold(reference, recent, WINDOW_ALPHA)),
        "js": (drift.js(reference, recent), drift.js_threshold(reference, recent, WINDOW_ALPHA)),
    }
    if feature.name != LABEL and "ks" in methods:
        largest, summed = drift.cdf_thresholds(reference, recent, WINDOW_ALPHA)
        found["ks"] = (drift.ks(reference, recent), largest)
        found["wasserstein"] = (drift.wasserstein(reference, recent), summed)
    return {
        method: {"score": score, "threshold": threshold}
        for method, (score, threshold) in found.items()
        if method in methods
    }
