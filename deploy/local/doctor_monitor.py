"""What the monitor says of itself: which models it cannot judge, what it watches without drift, what it put aside."""

import http.client
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from broker.addresses import place
from deploy.local.findings import Finding
from deploy.local.settings import StackSettings

_UNWATCHED: Final = {
    "reference": ("no reference of it can be read", "just reference {model} FILE.csv"),
    "detectors": ("no detectors can be built by its reference", "just verify-model models/{model}/{version}"),
}
_TIMEOUT_S: Final = 5


def examine_monitor(settings: StackSettings) -> list[Finding]:
    """Ask the monitor of this machine; nothing where it does not answer, which is said elsewhere."""
    connection = http.client.HTTPConnection(place(settings.monitor_host, settings.monitor_port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/report")
        reports = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return []
    finally:
        connection.close()
    return [finding for report in reports.values() for finding in watched(report)]


def watched(report: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the watching of one model, by its *report*; nothing where all of it is judged."""
    model = report["model"]
    for tag, trouble in report["monitor"]["trouble"].items():
        yield Finding("bad", f"monitor: {tag} is not judged now: {trouble}", "just logs monitor")
    for version, found in report["versions"].items():
        if found["unwatched"]:
            why, command = _UNWATCHED.get(found["unwatched"], (found["unwatched"], ""))
            what = f"monitor: {model} {version} is counted without drift: {why}"
            yield Finding("warn", what, command.format(model=model, version=version))
    for stream, found in report["streams"].items():
        if found["unreadable"]:
            counts = ", ".join(f"{count} {reason}" for reason, count in found["unreadable"].items())
            newest = f", the newest {found['put_aside'][-1]['entry']}" if found["put_aside"] else ""
            what = f"monitor: entries of {model} {stream} do not count: {counts}{newest}"
            yield Finding("warn", what, "docs/runbooks/UnreadableEntries.md")
