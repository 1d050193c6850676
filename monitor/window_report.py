"""What one window of one version says: shares, features against their reference, and the estimated accuracy."""

from typing import Any

from monitor import drift
from monitor.drift import WINDOW_ALPHA, Counts, enough
from monitor.estimate import Estimate
from monitor.feedback import DELAY_BOUNDS_S, Delays
from monitor.judgement import Judged
from monitor.panes import WINDOWS
from monitor.profiles import LABEL, FeatureProfile
from monitor.track import ABSTAINED, ERRORS, EXPECTED, OK, SPREAD, TRUNCATED, Track


def windowed(tracks: list[Track], judged: Judged, name: str, now_ms: int) -> dict[str, Any]:
    """Return the report of window *name* that ends at *now_ms*; *judged* are its labels."""
    if not tracks:
        return {}
    # Shards whose reference differs (one was replaced just now) cannot be added.
    alike = [track for track in tracks if track.profile.digest == tracks[0].profile.digest]
    pane = sum((track.window(name, now_ms) for track in alike), tracks[0].empty())
    answered = int(pane[OK])
    return {
        "answered": answered,
        "errors": int(pane[ERRORS]),
        "abstained": int(pane[ABSTAINED]),
        "truncated": int(pane[TRUNCATED]),
        "label_coverage": judged.count / answered if answered else None,
        "estimated_accuracy": _estimated(tracks[0], pane, judged),
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


def maturity(name: str, delays: Delays) -> float | None:
    """Return the share of a window's labels that have come by now, if they come as late as they have so far.

    Of the labels that take d seconds, those for the newest d seconds of a window of L are still missing: (L - d) / L
    are there. Each delay counts as its bucket's upper bound, so the truth is at least this.
    """
    total = sum(delays.counts)
    length, panes = WINDOWS[name]
    seconds = length * panes / 1000
    there = sum(n * max(0.0, 1 - bound / seconds) for n, bound in zip(delays.counts, DELAY_BOUNDS_S, strict=False))
    return there / total if total else None


def _estimated(track: Track, pane: Counts, judged: Judged) -> dict[str, float] | None:
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
    scores = _scores(feature, recent) if feature.judged and enough(recent) else {}
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


def _scores(feature: FeatureProfile, recent: Counts) -> dict[str, dict[str, float]]:
    """Return each distance with what chance alone stays below; the label's bins have no order for the last two."""
    reference = feature.counts
    found = {
        "psi": (drift.psi(reference, recent), drift.psi_threshold(reference, recent, WINDOW_ALPHA)),
        "js": (drift.js(reference, recent), drift.js_threshold(reference, recent, WINDOW_ALPHA)),
    }
    if feature.name != LABEL:
        largest, summed = drift.cdf_thresholds(reference, recent, WINDOW_ALPHA)
        found["ks"] = (drift.ks(reference, recent), largest)
        found["wasserstein"] = (drift.wasserstein(reference, recent), summed)
    return {method: {"score": score, "threshold": threshold} for method, (score, threshold) in found.items()}
