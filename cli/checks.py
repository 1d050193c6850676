"""What a report must find in order not to fail, so that it serves in a pipeline; what is not known passes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cli.evidence import Alarm
from cli.terminal import percent

Outcome = Literal["passed", "unknown", "FAILED"]

MINIMUM_LABELS = 200  # fewer do not fail a model
LONGEST_LAG_S = 60.0
UNWATCHED = {"reference": "no reference can be read", "detectors": "no detectors can be built by its reference"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    outcome: Outcome
    detail: str


def worst(found: Sequence[Check]) -> Outcome:
    """Return what a report is as a whole: it fails when one check does, and passes when every check does."""
    outcomes = {check.outcome for check in found}
    return "FAILED" if "FAILED" in outcomes else "unknown" if "unknown" in outcomes else "passed"


def checks(
    monitored: Mapping[str, Any], by_version: Mapping[str, Mapping[str, Any]], firing: Sequence[Alarm]
) -> list[Check]:
    """Return every check on the monitor's report, and on the accuracy and the *firing* alarms that the log holds."""
    versions = monitored.get("versions", {})
    return [
        *(_accuracy(version, found, versions.get(version, {})) for version, found in by_version.items()),
        *([] if by_version else [Check("accuracy", "unknown", "no label came in this time")]),
        *(_unwatched(version, found["unwatched"]) for version, found in versions.items() if found.get("unwatched")),
        *(_put_aside(name, found) for name, found in monitored.get("streams", {}).items() if found["unreadable"]),
        _pages(firing),
        _current(monitored.get("monitor", {})),
    ]


def _accuracy(version: str, found: Mapping[str, Any], monitored: Mapping[str, Any]) -> Check:
    """Fail when even the upper 95 % bound is below the version's target, on enough labels."""
    name, target, count = f"accuracy of version {version}", monitored.get("target_accuracy"), found["labels"]
    if target is None:
        return Check(name, "unknown", f"{percent(found['accuracy'])} of {count} labels; no target is known")
    if count < MINIMUM_LABELS:
        return Check(name, "unknown", f"{count} labels, too few to judge; {MINIMUM_LABELS} are needed")
    interval = f"{percent(found['lower'])} to {percent(found['upper'])}"
    return Check(
        name,
        "passed" if found["upper"] >= target else "FAILED",
        f"{percent(found['accuracy'])} ({interval}) of {count} labels; the target is {percent(target)}",
    )


def _pages(firing: Sequence[Alarm]) -> Check:
    """Fail when an alarm that pages is on. The log knows them also while the monitor does not know them again yet."""
    pages = [f"{one.began.detector} of {one.began.feature}" for one in firing if one.began.severity == "page"]
    tickets = f"open tickets: {len(firing) - len(pages)}"
    detail = f"on: {', '.join(pages)}; {tickets}" if pages else f"none is on; {tickets}"
    return Check("alarms that page", "FAILED" if pages else "passed", detail)


def _unwatched(version: str, why: str) -> Check:
    """Say that a version is counted without drift; a version may be served without a reference."""
    return Check(f"drift of version {version}", "unknown", f"not watched: {UNWATCHED.get(why, why)}")


def _put_aside(stream: str, found: Mapping[str, Any]) -> Check:
    """Say which entries do not count, and where the newest of them is."""
    counts = ", ".join(f"{count} {reason}" for reason, count in found["unreadable"].items())
    newest = f"; the newest: {found['put_aside'][-1]['entry']}" if found["put_aside"] else ""
    return Check(f"entries of {stream}", "unknown", f"put aside: {counts}{newest}")


def _current(own: Mapping[str, Any]) -> Check:
    """Fail when the monitor does not know the log as it is now."""
    if trouble := own.get("trouble"):
        detail = f"it judges nothing now: {'; '.join(trouble.values())}; run: just logs monitor"
        return Check("monitor is current", "FAILED", detail)
    lag = own.get("lag_seconds")
    if own.get("catching_up") or lag is None:
        detail = "it has not read the log to its end since it started; when it has: just doctor"
        return Check("monitor is current", "FAILED", detail)
    outcome: Outcome = "passed" if lag <= LONGEST_LAG_S else "FAILED"
    return Check("monitor is current", outcome, f"it is {lag:.1f} s behind the log")
