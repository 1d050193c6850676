"""One alarm in words: what moved, when, by how much, and where to read what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from broker.events import Alert
from cli.terminal import percent, printable

HEIGHTS = "▁▂▃▄▅▆▇█"
RUNBOOKS = "docs/runbooks"
SAMPLES = 3
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400

WORDS = {
    "characters": "text length in characters",
    "words": "text length in words",
    "tokens": "text length in tokens",
    "oov_ratio": "share of unknown words",
    "confidence": "confidence",
    "entropy": "uncertainty (entropy)",
    "predicted_label": "mix of predicted labels",
    "accuracy": "accuracy",
    "estimated_accuracy": "accuracy, estimated without labels",
    "non_latin_ratio": "share of letters that are not Latin",
    "queue_ms": "wait before inference, ms",
    "inference_ms": "inference, ms",
    "shadow": "shadow version that nobody reads",
    "embedding": "what the texts say (embedding)",
    "errors": "share of errors",
    "abstained": "share of abstentions",
    "truncated": "share of truncated texts",
    "empty": "share of empty texts",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm from its beginning to its end, if it has ended."""

    model: str
    began: Alert
    ended: Alert | None = None

    @property
    def newest_ms(self) -> int:
        """When its newest entry was decided, Redis time."""
        return self.ended.at_ms if self.ended else self.began.at_ms

    def document(self) -> dict[str, Any]:
        """Return everything that is known, as plain values."""
        document = {"model": self.model, **self.began.model_dump(), "runbook": runbook(self.began)}
        if self.ended:
            document |= {"state": "resolved", "ended_ms": self.ended.at_ms, "ended_summary": self.ended.summary}
        return document


def runbook(alert: Alert) -> str:
    """Return the page that says what to do; older alerts name none."""
    named = alert.evidence.get("runbook")
    return named if isinstance(named, str) else f"{RUNBOOKS}/README.md"


def lines(alarm: Alarm, now_ms: float) -> list[str]:
    """Return what a person reads about *alarm* at *now_ms*, Redis time."""
    began, ended = alarm.began, alarm.ended
    state = "ended " if ended else "FIRING"
    what = WORDS.get(began.feature, printable(began.feature))
    until = f" to {when(ended.at_ms)}" if ended else f" ({ago((now_ms - began.at_ms) / 1000)} ago)"
    return [
        f"{state} {began.severity}  {what}  {alarm.model} {printable(began.version)}  {when(began.at_ms)}{until}",
        f"  {printable(began.summary)}",
        *([f"  {printable(ended.summary)}"] if ended else []),
        f"  {_measured(began)}",
        *(f"  {line}" for line in _onset_lines(began)),
        *(f"  {line}" for line in histogram_lines(began.evidence)),
        *(f"  {line}" for line in _confusion_lines(began.evidence)),
        *(f"  {line}" for line in _sample_lines(began.evidence)),
        f"  what to do  {printable(runbook(began))}",
    ]


def histogram_lines(evidence: dict[str, Any]) -> list[str]:
    """Return reference and current counts as two rows of bars, and the bin that moved most; nothing without both."""
    reference, recent = evidence.get("reference"), evidence.get("current", evidence.get("counts"))
    if not _counts(reference) or not _counts(recent) or len(reference or ()) != len(recent or ()):
        return []
    before, now = shares(reference or ()), shares(recent or ())
    top = max(*before, *now)
    moved = max(range(len(now)), key=lambda place: abs(now[place] - before[place]))
    where = bin_name(moved, len(now), evidence.get("edges"), evidence.get("labels"))
    return [
        f"reference   {spark(before, top)}",
        f"now         {spark(now, top)}",
        f"moved most  {where}: {percent(before[moved])} of the reference, {percent(now[moved])} now",
    ]


def bin_name(place: int, bins: int, edges: Any, labels: Any = None) -> str:
    """Name one bin of a histogram by its label, its edges, or else its place."""
    if isinstance(labels, list) and len(labels) == bins:
        return printable(str(labels[place]))
    if not (isinstance(edges, list) and len(edges) == bins - 1):
        return f"bin {place + 1} of {bins}"
    if place == 0:
        return f"up to {edges[0]:.3g}"
    if place == bins - 1:
        return f"above {edges[-1]:.3g}"
    return f"{edges[place - 1]:.3g} to {edges[place]:.3g}"


def shares(counts: Sequence[int]) -> list[float]:
    """Return counts as shares of their sum; zeros where the sum is zero."""
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def spark(values: Sequence[float], top: float) -> str:
    """Draw one bar a value, the highest possible one for *top*."""
    last = len(HEIGHTS) - 1
    return "".join(HEIGHTS[round(min(value / top, 1) * last) if top > 0 else 0] for value in values)


def when(at_ms: float) -> str:
    """Write a Redis time for a person, UTC."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"


def ago(seconds: float) -> str:
    """Write how long ago something was, to its largest unit."""
    for unit_s, name in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def _measured(alert: Alert) -> str:
    window = printable(str(alert.evidence.get("window", "the stream")))
    return (
        f"detector    {printable(alert.detector)} over {window}: {alert.statistic:.4g}, begins at {alert.threshold:.4g}"
    )


def onset_ms(evidence: dict[str, Any]) -> int | None:
    """Return when what began an alarm most likely began, Redis time; None where its detector does not say."""
    found = evidence.get("onset_ms")
    return found if isinstance(found, int) and found > 0 else None


def _onset_lines(alert: Alert) -> list[str]:
    onset = onset_ms(alert.evidence)
    if onset is None:
        return []
    return [f"began       about {when(onset)}, {ago((alert.at_ms - onset) / 1000)} before it was certain"]


def _confusion_lines(evidence: dict[str, Any]) -> list[str]:
    confusion = evidence.get("confusion")
    if not isinstance(confusion, dict):
        return []
    wrong = [
        (count, true, predicted)
        for true, row in confusion.items()
        if isinstance(row, dict)
        for predicted, count in row.items()
        if true != predicted and isinstance(count, int) and count > 0
    ]
    return [
        f"confused    {printable(true)} taken for {printable(predicted)}: {count}"
        for count, true, predicted in sorted(wrong, reverse=True)[:SAMPLES]
    ]


def _sample_lines(evidence: dict[str, Any]) -> list[str]:
    samples = evidence.get("sample_ids")
    if not isinstance(samples, list):
        return []
    return [f"for example {printable(str(sample))}" for sample in samples[-SAMPLES:]]


def _counts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(count, int) and count >= 0 for count in value)
