"""The line at the top of every tab: what is wrong, in words, or that nothing is."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from console import markup
from console.sentences import ago, interval, of_feature, percent

BACKLOG_S: Final = 10.0  # the oldest request nobody has answered
BLIND_S: Final = 30.0  # how far behind the log the monitor may be
UNSAVED_S: Final = 120.0  # since its state was last stored
ENOUGH: Final = 20  # labels before an accuracy is spoken of
WINDOW: Final = "1h"
ONSET: Final = "onset_ms"  # in an alarm's evidence
ACCURACY, ESTIMATE = "accuracy", "estimate"

Document = Mapping[str, Any]


def banner(reports: Document | None, monitor_trouble: str | None, gateway_trouble: str | None) -> str:
    """Return the line; without *reports* the monitor could not be asked, and nobody knows."""
    wrong = [gateway_trouble] if gateway_trouble else []
    if monitor_trouble:
        wrong.append(f"Nobody sees whether the model is still right. {monitor_trouble}")
    for report in (reports or {}).values():
        wrong += _wrong_with(report)
    if wrong:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in wrong)
        head = f"{len(wrong)} things are wrong" if len(wrong) > 1 else "Something is wrong"
        return f'<div class="o-banner bad" role="alert"><b>{head}</b><ul>{items}</ul></div>'
    quiet = " · ".join(escape(_quiet(report)) for report in (reports or {}).values()) or "no model has answered yet"
    return f'<div class="o-banner good" role="status"><b>All quiet.</b> {quiet}</div>'


def _wrong_with(report: Document) -> Iterator[str]:
    model = report["model"]
    alarms = report["alarms"]
    for version in sorted({alarm["version"] for alarm in alarms}):
        mine = [alarm for alarm in alarms if alarm["version"] == version]
        yield from _of_version(f"{model} {version}", mine, report["now_ms"])
    if not any(alarm["feature"] == ACCURACY for alarm in alarms) and (low := _too_low(report)):
        yield low
    asked = report["monitor"]["groups"].get("requests/workers") or {}
    waiting = (asked.get("lag") or 0) + (asked.get("pending") or 0)
    if waiting and (asked.get("oldest_seconds") or 0) > BACKLOG_S:
        yield f"{model}: {waiting:,} requests wait, the oldest for {asked['oldest_seconds']:.0f} s"
    own = report["monitor"]
    for trouble in own.get("trouble", {}).values():
        yield f"{model}: the monitor judges nothing now: {trouble}"
    if (own.get("lag_seconds") or 0) > BLIND_S or (own.get("snapshot_age_seconds") or 0) > UNSAVED_S:
        behind = f"it is {own.get('lag_seconds') or 0:.0f} s behind the log"
        yield f"{model}: the monitor is blind: {behind}, its state was stored {ago(own.get('snapshot_age_seconds'))}"


def _of_version(who: str, alarms: Sequence[Document], now_ms: float) -> Iterator[str]:
    """Say what matters first: accuracy as its newest alarm has it, then each slice, then all drift in one line."""
    newest_first = sorted(alarms, key=lambda alarm: (alarm["severity"] != "page", -alarm["at_ms"]))
    accuracy = [alarm for alarm in newest_first if alarm["feature"] == ACCURACY]
    slices = [alarm for alarm in newest_first if alarm["feature"].startswith(f"{ACCURACY}/")]
    for alarm in (*accuracy[:1], *slices):
        yield f"{who}: {alarm['summary']} ({_since(alarm, now_ms)})"
    rest = [alarm for alarm in alarms if alarm not in accuracy and alarm not in slices]
    for alarm in (one for one in rest if one["detector"] == ESTIMATE):
        yield f"{who}: {alarm['summary']} ({_since(alarm, now_ms)})"
    drifting = [alarm for alarm in rest if alarm["detector"] != ESTIMATE]
    if drifting:
        names = ", ".join(dict.fromkeys(of_feature(alarm["feature"]).lower() for alarm in drifting))
        first = min(drifting, key=lambda alarm: alarm["at_ms"])
        yield f"{who}: texts or answers are no longer like the reference: {names} ({_since(first, now_ms)})"


def _since(alarm: Document, now_ms: float) -> str:
    """Say when an alarm was raised, and when what it says most likely began, where its detector knows."""
    raised = f"alarm {ago((now_ms - alarm['at_ms']) / 1000)}"
    onset = _onset(alarm)
    return f"began about {ago((now_ms - onset) / 1000)}, {raised}" if onset else raised


def _onset(alarm: Document) -> int | None:
    """Return when what began an alarm most likely began; None where its detector does not say."""
    found = (alarm.get("evidence") or {}).get(ONSET)
    return found if isinstance(found, int) and found > 0 else None


def _too_low(report: Document) -> str | None:
    """Say it where even the best case of the last hour's labels is below the target."""
    for version, found in report["versions"].items():
        accuracy, target = found["accuracy"].get(WINDOW) or {}, found.get("target_accuracy")
        ratio = accuracy.get("ratio")
        if ratio and target and accuracy["count"] >= ENOUGH and ratio["upper"] < target:
            labels = f"of the last hour's {accuracy['count']:,} labels {percent(ratio['point'])} were right"
            return (
                f"{report['model']} {version}: Accuracy is below its target of {percent(target, 0)}: "
                f"{labels} ({interval(ratio)})"
            )
    return None


def _quiet(report: Document) -> str:
    version = (report.get("wanted") or {}).get("version")
    found = report["versions"].get(version) if version else None
    accuracy = (found or {}).get("accuracy", {}).get(WINDOW) or {}
    ratio = accuracy.get("ratio")
    if not ratio:
        return f"{report['model']}: no label in the last hour"
    return (
        f"{report['model']}: accuracy of the last hour {percent(ratio['point'])} "
        f"({interval(ratio)}, {accuracy['count']:,} labels)"
    )


def alerts(report: Document) -> str:
    """Return what began and ended of late, newest first, each with its evidence."""
    rows = [
        (
            markup.day_and_clock(alert["at_ms"]),
            '<b class="bad">began</b>' if alert["state"] == "firing" else '<span class="soft">ended</span>',
            escape(of_feature(alert["feature"])),
            f"{escape(alert['summary'])}{_evidence(alert)}",
            escape(alert["version"]),
        )
        for alert in report["recent_alerts"][:20]
    ]
    if not rows:
        return markup.card("Recent alarms", "", markup.nothing("No alarm has begun."), markup.WIDE)
    content = markup.table(("time, UTC", "", "of", "what", "version"), rows)
    return markup.card("Recent alarms", "newest first", content, markup.WIDE)


def _evidence(alert: Document) -> str:
    kept = {
        "detector": alert["detector"],
        "statistic": f"{alert['statistic']:.4g}",
        "begins at": f"{alert['threshold']:.4g}",
    }
    if onset := _onset(alert):
        kept["began about"] = f"{markup.day_and_clock(onset)} UTC"
    plain = {name: value for name, value in alert["evidence"].items() if isinstance(value, str | int | float)}
    kept |= {name: value for name, value in plain.items() if name != ONSET}
    lines = "".join(
        f"<div>{escape(name.replace('_', ' '))}: {escape(str(value)[:200])}</div>" for name, value in kept.items()
    )
    samples = alert["evidence"].get("sample_ids") or []
    lines += "".join(f"<div>{markup.code(str(one))}</div>" for one in samples[-3:])
    return f"<details><summary>evidence</summary>{lines}</details>"
