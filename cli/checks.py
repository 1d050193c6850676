"""What a report must find in order to pass, so that it serves in a pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.terminal import percent

MINIMUM_LABELS = 200  # fewer do not fail a model
LONGEST_LAG_S = 60.0
UNWATCHED = {"reference": "no reference can be read", "detectors": "no detectors can be built by its reference"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str


def checks(monitored: Mapping[str, Any], by_version: Mapping[str, Mapping[str, Any]]) -> list[Check]:
    """Return every check on the monitor's report and the log's accuracy; the report fails when one of them does."""
    versions = monitored.get("versions", {})
    return [
        *(_accuracy(version, found, versions.get(version, {})) for version, found in by_version.items()),
        *(_unwatched(version, found["unwatched"]) for version, found in versions.items() if found.get("unwatched")),
        *(_put_aside(name, found) for name, found in monitored.get("streams", {}).items() if found["unreadable"]),
        _pages(monitored.get("alarms", ())),
        _current(monitored.get("monitor", {})),
    ]


def _accuracy(version: str, found: Mapping[str, Any], monitored: Mapping[str, Any]) -> Check:
    """Fail when even the upper 95 % bound is below the version's target, on enough labels."""
    name, target, count = f"accuracy of version {version}", monitored.get("target_accuracy"), found["labels"]
    if target is None:
        return Check(name, passed=True, detail=f"{percent(found['accuracy'])} of {count} labels; no target is known")
    if count < MINIMUM_LABELS:
        return Check(name, passed=True, detail=f"{count} labels, too few to judge; {MINIMUM_LABELS} are needed")
    interval = f"{percent(found['lower'])} to {percent(found['upper'])}"
    return Check(
        name,
        passed=found["upper"] >= target,
        detail=f"{percent(found['accuracy'])} ({interval}) of {count} labels; the target is {percent(target)}",
    )


def _pages(active: Sequence[Mapping[str, Any]]) -> Check:
    """Fail when an alarm that pages is on."""
    pages = [f"{alarm['detector']} of {alarm['feature']}" for alarm in active if alarm["severity"] == "page"]
    tickets = f"open tickets: {len(active) - len(pages)}"
    detail = f"on: {', '.join(pages)}; {tickets}" if pages else f"none is on; {tickets}"
    return Check("alarms that page", passed=not pages, detail=detail)


def _unwatched(version: str, why: str) -> Check:
    """Say that a version is counted without drift; a version may be served without a reference."""
    return Check(f"drift of version {version}", passed=True, detail=f"not watched: {UNWATCHED.get(why, why)}")


def _put_aside(stream: str, found: Mapping[str, Any]) -> Check:
    """Say which entries do not count, and where the newest of them is."""
    counts = ", ".join(f"{count} {reason}" for reason, count in found["unreadable"].items())
    newest = f"; the newest: {found['put_aside'][-1]['entry']}" if found["put_aside"] else ""
    return Check(f"entries of {stream}", passed=True, detail=f"put aside: {counts}{newest}")


def _current(own: Mapping[str, Any]) -> Check:
    """Fail when the monitor does not know the log as it is now."""
    if trouble := own.get("trouble"):
        detail = f"it judges nothing now: {'; '.join(trouble.values())}; run: just logs monitor"
        return Check("monitor is current", passed=False, detail=detail)
    lag = own.get("lag_seconds")
    if lag is None:
        return Check("monitor is current", passed=False, detail="it has not read the log to its end yet")
    return Check("monitor is current", passed=lag <= LONGEST_LAG_S, detail=f"it is {lag:.1f} s behind the log")
