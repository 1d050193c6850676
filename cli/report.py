"""``report``: one model's last hours as a page and as JSON; fails where something is wrong, so that it serves in CI."""

import argparse
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from redis.asyncio import Redis

from broker.addresses import without_login
from broker.errors import ObservaError
from broker.ratios import accuracy_of
from broker.streams import Tag
from cli.alerts import in_order, now_ms, read_alarms
from cli.api import client
from cli.arguments import name
from cli.checks import checks, worst
from cli.evidence import Alarm
from cli.history import MOST, History, read_history
from cli.log import since
from cli.page import page
from cli.reading import opened
from cli.scorecard import make_room, write_metrics
from cli.settings import CliSettings
from cli.terminal import note, printable

TIMEOUT_S = 10.0
WINDOWS = {"5m": 300_000, "1h": 3_600_000, "24h": 86_400_000}  # of the monitor
ENDED = 50
SLICE_LABELS = 20  # fewer labels say nothing about a slice
SLICES = 10


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``report``."""
    parser.add_argument("model", type=name, metavar="MODEL", nargs="?", help="default: OBSERVA_MODEL")
    parser.add_argument("--since", type=since, default=(True, 86_400_000), help="90m, 24h, 7d ago, or a time (24h)")
    parser.add_argument("--output", type=Path, default=Path("reports"), metavar="DIR", help="default: %(default)s")


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Write both files; 1 where a check failed. What is unknown is said, and fails nothing."""
    model = args.model or settings.model
    files = [args.output / f"{model}.json", args.output / f"{model}.html"]
    for file in files:
        make_room(file)
    monitored = await _monitored(settings.monitor, model)
    async with opened(settings) as redis:
        document = await _document(redis, settings, model, args.since, monitored)
    write_metrics(files[0], document)
    try:
        files[1].write_text(page(document), encoding="utf-8")
    except OSError as error:
        raise ObservaError(f"{files[1]}: {error.strerror}; choose another place with --output") from None
    for check in document["checks"]:
        print(f"{check['outcome']:<7}  {printable(check['name'])}: {printable(check['detail'])}")
    print(f"\nkept in {files[1]} and {files[0]}")
    return int(document["outcome"] == "FAILED")


async def _document(
    redis: Redis, settings: CliSettings, model: str, asked: tuple[bool, int], monitored: dict[str, Any]
) -> dict[str, Any]:
    tags = [Tag(model, shard) for shard in range(settings.shards)]
    until_ms = int(await now_ms(redis))
    ago, ms = asked
    since_ms = max(until_ms - ms, 0) if ago else ms
    if since_ms >= until_ms:
        raise ObservaError("--since lies in the future; name a time that has passed")
    history = await read_history(redis, tags, since_ms, until_ms)
    if history.cut:
        note(f"warning: more than {MOST} entries; the newest are left out; choose a later --since")
    alarms = [one for one in (await read_alarms(redis, tags))[0].values() if not one.ended or one.newest_ms >= since_ms]
    return document(model, monitored, history, in_order(alarms, ENDED))


def document(model: str, monitored: Mapping[str, Any], history: History, alarms: list[Alarm]) -> dict[str, Any]:
    """Return everything the page shows, as plain values."""
    found = checks(monitored, history.by_version(), [alarm for alarm in alarms if not alarm.ended])
    asked_ms = history.until_ms - history.since_ms
    return {
        "model": model,
        "since_ms": history.since_ms,
        "until_ms": history.until_ms,
        "outcome": worst(found),
        "checks": [asdict(check) for check in found],
        "accuracy": accuracy_of(sum(one.right for one in history.labels.values()), len(history.labels)),
        "accuracy_by_version": history.by_version(),
        "over_time": history.over_time(),
        "calibration": history.calibration(),
        "confusion": history.confusion(),
        "worst_slices": worst_slices(monitored["versions"]),
        "unreadable_entries": history.unreadable,
        "cut": history.cut,
        "alarms": [alarm.document() for alarm in alarms],
        "window": next((window for window, ms in WINDOWS.items() if asked_ms <= ms), "24h"),
        "versions": monitored["versions"],
        "feedback": monitored["feedback"],
        "median_delay": _median_delay(monitored["feedback"]["delay_seconds"]),
        "monitor": monitored["monitor"],
    }


def worst_slices(versions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the slices whose accuracy of the last day is lowest, by the upper end of its interval, worst first."""
    rows = [
        {"slice": name, "version": version, "labels": one["labelled"], "correct": one["correct"]}
        | {"accuracy": one["accuracy"]["point"], "lower": one["accuracy"]["lower"], "upper": one["accuracy"]["upper"]}
        for version, found in versions.items()
        for name, one in found["slices"].items()
        if one.get("labelled", 0) >= SLICE_LABELS
    ]
    return sorted(rows, key=lambda row: (row["upper"], row["slice"], row["version"]))[:SLICES]


def _median_delay(delays: Mapping[str, Any]) -> str | None:
    """Return between which bounds the middle delay lies, in words; None without a label."""
    counts, bounds = delays["counts"], delays["bounds"]
    if not sum(counts):
        return None
    place = next(at for at, total in enumerate(accumulate(counts)) if 2 * total >= sum(counts))
    return f"< {bounds[place]:g} s" if place < len(bounds) else f"> {bounds[-1]:g} s"


async def _monitored(url: str, model: str) -> dict[str, Any]:
    """Return the monitor's own report.

    Raises:
        ObservaError: no monitor answers, or it does not watch the model.

    """
    shown = without_login(url)
    async with client(url, TIMEOUT_S) as http:
        try:
            response = await http.get(f"/report/{quote(model, safe='')}")
        except httpx.HTTPError:
            raise ObservaError(f"no monitor answers at {shown}; run: just up, or set OBSERVA_MONITOR_URL") from None
    if response.status_code == httpx.codes.NOT_FOUND:
        raise ObservaError(f"the monitor does not watch {model!r}; what is served: GET /v1/models")
    try:
        found: dict[str, Any] = orjson.loads(response.raise_for_status().content)
    except (httpx.HTTPError, orjson.JSONDecodeError):
        raise ObservaError(f"{shown} does not answer as a monitor does; check OBSERVA_MONITOR_URL") from None
    return found
