"""``demo-drift``: real traffic that changes before your eyes, and the page that the on-call engineer would get."""

import argparse
import asyncio
import signal
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
from redis.asyncio import Redis
from rich.live import Live

from broker.addresses import without_login
from broker.errors import ObservaError
from cli.alerts import in_order, now_ms, read_alarms
from cli.api import client
from cli.arguments import positive
from cli.demo_play import ACTS, Act, Player, read_texts
from cli.demo_stage import MODEL, TAG, VERSION, Watched, stage
from cli.demo_view import WINDOW, line, view
from cli.evidence import Alarm, lines, when
from cli.reading import opened
from cli.settings import CliSettings
from cli.terminal import console, note

TEXTS = Path(".cache/demo-texts.json")
LOOK_S = 0.5
LINE_S = 5.0
LONGEST_RATE = 200
SETTLE_S = 3.0  # after the last text, for the last answers and the monitor's snapshot
SHORTEST_S = 10.0  # of the last act, however early its alarm


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``demo-drift``."""
    parser.add_argument("--rate", type=positive, default=40, help=f"texts a second, at most {LONGEST_RATE} (40)")
    parser.add_argument("--texts", type=Path, default=TEXTS, help=argparse.SUPPRESS)


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Play, show, explain, remove; 0 when an alarm fired, 1 otherwise."""
    texts = read_texts(args.texts)
    async with opened(settings) as redis, client(settings.monitor, 5.0) as http:
        monitor = Monitor(http, settings.monitor)
        await monitor.check()
        _end_tidily()
        async with stage(redis, settings, monitor):
            show = Show(redis, monitor, Player(redis, TAG, texts, min(args.rate, LONGEST_RATE)))
            await show.perform()
            print("\n".join(show.page(await now_ms(redis))), flush=True)
    return int(not show.alarms)


def _end_tidily() -> None:
    """Let a closed terminal and SIGTERM end us as Ctrl-C does: with everything removed."""
    task = asyncio.current_task()
    if task:
        for number in (signal.SIGHUP, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


class Monitor(Watched):
    """The running monitor's report of the demonstration's model."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = without_login(url)

    async def check(self) -> None:
        """Make sure that there is a monitor.

        Raises:
            ObservaError: nothing that is one answers.

        """
        if await self._get("/report") is None:
            raise ObservaError(f"no monitor answers at {self._url}; run: just up, or set OBSERVA_MONITOR_URL")

    async def still(self) -> bool:
        """Tell whether the model is watched; an answer that cannot be had counts as no."""
        return bool(await self.report())

    async def report(self) -> dict[str, Any]:
        """Return the report; nothing while the monitor has not met the model."""
        return await self._get(f"/report/{MODEL}") or {}

    async def _get(self, path: str) -> dict[str, Any] | None:
        try:
            response = await self._http.get(path)
            found: dict[str, Any] = orjson.loads(response.raise_for_status().content)
        except (httpx.HTTPError, orjson.JSONDecodeError):
            return None
        return found


class Show:
    """One performance: what is sent, what is seen."""

    def __init__(self, redis: Redis, monitor: Monitor, player: Player) -> None:
        self.alarms: list[Alarm] = []
        self._redis = redis
        self._monitor = monitor
        self._player = player
        self._played = player.played
        self._report: dict[str, Any] = {}

    async def perform(self) -> None:
        """Send everything while showing what the monitor makes of it."""
        screen = console()
        with Live(console=screen, auto_refresh=False, transient=True) as live:
            playing = asyncio.create_task(self._player.play(self._enough))
            try:
                await self._watch(playing, live, is_terminal=screen.is_terminal)
                await playing
            finally:
                playing.cancel()
        end = time.monotonic() + SETTLE_S
        while time.monotonic() < end:
            await self._look()
            await asyncio.sleep(LOOK_S)

    def page(self, at_ms: float) -> list[str]:
        """Return the explanation: per feature the first alarm in full, the others by name."""
        if not self.alarms:
            return ["no alarm fired; is the monitor set to much longer run lengths? see OBSERVA_DRIFT_RUN_LENGTH"]
        features = self._version.get("windows", {}).get(WINDOW, {}).get("features", {})
        said = ["", "what the on-call engineer reads (just alerts):", ""]
        told: set[str] = set()
        for alarm in sorted(self.alarms, key=lambda each: each.began.at_ms):
            if alarm.began.feature in told:
                continue
            told.add(alarm.began.feature)
            said += [*lines(_with_histogram(alarm, features), at_ms), f"  {self._after(alarm)}", ""]
        more = len(self.alarms) - len(told)
        return [*said, f"{more} more alarms said the same of these features"] if more else said

    @property
    def _version(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._report.get("versions", {}).get(VERSION, {})
        return found

    async def _watch(self, playing: "asyncio.Task[None]", live: Live, *, is_terminal: bool) -> None:
        said_s, task = 0.0, asyncio.current_task()
        while not playing.done():
            if task and task.cancelling():  # Python 3.11 may drop a cancellation within a sending; see cli/log.py
                raise asyncio.CancelledError
            await self._look()
            if is_terminal:
                live.update(
                    view(self._played, self._version, self._report.get("monitor", {}), self.alarms), refresh=True
                )
            elif time.monotonic() - said_s > LINE_S:
                said_s = time.monotonic()
                note(line(self._played, self._version, self.alarms))
            await asyncio.wait([playing], timeout=LOOK_S)

    async def _look(self) -> None:
        self._report = await self._monitor.report() or self._report
        found, _ = await read_alarms(self._redis, [TAG])
        self.alarms = in_order(found.values(), len(found))

    def _enough(self, act: Act, spent_s: float) -> bool:
        """End the last act once an alarm of the accuracy pages."""
        return act is ACTS[-1] and spent_s > SHORTEST_S and any(one.began.severity == "page" for one in self.alarms)

    def _after(self, alarm: Alarm) -> str:
        """Say in which act an alarm began, and how long after the act did."""
        at_ms, acts = alarm.began.at_ms, self._played.began_ms
        title = max((name for name, began in acts.items() if began <= at_ms), key=acts.__getitem__, default=None)
        if title is None:
            return "in the demo  before its first act"
        return f"in the demo {(at_ms - acts[title]) / 1000:.0f} s after this began at {when(acts[title])}: {title}"


def _with_histogram(alarm: Alarm, features: Mapping[str, Any]) -> Alarm:
    """Complete an alarm's evidence with the last five minutes of its feature, where it has no histogram of its own."""
    found, evidence = features.get(alarm.began.feature), alarm.began.evidence
    if not isinstance(found, Mapping) or not sum(found["reference"]):
        return alarm
    now = {"reference": found["reference"], "counts": found["recent"]}
    names = {name: found[name] for name in ("edges", "labels") if name in found}
    return Alarm(alarm.model, alarm.began.model_copy(update={"evidence": now | names | evidence}), alarm.ended)
