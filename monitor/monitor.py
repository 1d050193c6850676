"""All models at once: finds them, reads each shard, measures the groups, and says what is known."""

import asyncio
import logging
import os
import secrets
import socket
import time
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.announcements import Announcement, announcements, served_models
from broker.connection import Clock
from broker.duties import Duties
from broker.events import Alert
from broker.inspection import GroupState, entries_added, group_states, read_alerts
from broker.manifest import Pointer, models_in
from broker.store import store_of
from broker.stored import whole_numbers
from broker.streams import MONITOR, Tag
from broker.versions import wanted
from monitor.aside import place_of
from monitor.loading import beside
from monitor.metrics import Monitored, Report
from monitor.profiles import Profiles
from monitor.reading import Reader
from monitor.report import Asked, summarise
from monitor.settings import MonitorSettings

EVERY_S: Final = 5.0  # between two looks at the models and the groups
ALERTS: Final = 50  # of each tag, the newest
GONE_S: Final = 15.0  # a model neither in the store nor announced for so long was removed: three announcements

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Measured:
    """What was last found of the groups, the workers, the alerts and the versions of one tag; how often that failed."""

    groups: list[GroupState] = field(default_factory=list)
    requests: int | None = None  # ever put on the log
    workers: list[Announcement] | None = None  # that are there now, of the model
    gaps: dict[str, int] = field(default_factory=dict)  # "stream/group" to entries
    alerts: list[Alert] = field(default_factory=list)  # newest first
    pointer: Pointer | None = None
    failures: int = 0


class Monitor(Monitored):
    """Readers by tag. One process watches every model; a second one takes over and this one leaves."""

    def __init__(self, redis: Redis, settings: MonitorSettings) -> None:
        self.duties = Duties()
        self.readers: dict[Tag, Reader] = {}
        self._redis = redis
        self._settings = settings
        self._store = store_of(settings)
        self._has_looked = False  # for models, once
        self._listing: asyncio.Future[list[str]] | None = None  # of the models in the store
        self._clock = Clock()
        self._measured: dict[Tag, Measured] = {}
        self._profiles: dict[str, Profiles] = {}
        self._tasks: dict[Tag, asyncio.Task[None]] = {}
        self._seen_s: dict[str, float] = {}  # model to when it was last in the store or announced
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until *stop*, then return once the readers have written what they know."""
        while not stop.is_set():
            for tag in await self._new_tags():
                self._follow(tag, stop)
            self._has_looked = True
            await self._forget_removed()
            await self._measure()
            await _either(stop, EVERY_S)
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def health(self) -> str:
        """Return "ok", or what keeps the monitor from it.

        "stale": no model is followed now; "catching up": the log of one was not read to its end since the start;
        "degraded": one is not followed now.
        """
        readers = self.readers.values()
        if not self._has_looked or (readers and not any(reader.fresh for reader in readers)):
            return "stale"
        if any(reader.catching_up for reader in readers):
            return "catching up"
        return "ok" if all(reader.fresh for reader in readers) else "degraded"

    def now_ms(self) -> float:
        """Return Redis' time in milliseconds."""
        return self._clock.now_ms()

    def models(self) -> list[str]:
        """Return the names of the watched models, sorted."""
        return sorted({tag.model for tag in self.readers})

    def report(self, model: str, asked: Asked = Asked()) -> Report:  # noqa: B008 immutable
        """Return the report of one watched model, or what was *asked* of it."""
        readers = {tag: reader for tag, reader in self.readers.items() if tag.model == model}
        report = summarise(model, [reader.state for reader in readers.values()], asked)
        measured = [self._measured[tag] for tag in readers]
        now_ms, newest_ms = self._clock.now_ms(), report["newest_entry_ms"]
        report["now_ms"] = round(now_ms)
        report["newest_entry_age_seconds"] = max(0.0, (now_ms - newest_ms) / 1000) if newest_ms else None
        report["wanted"] = next((one.pointer.model_dump() for one in measured if one.pointer), None)
        report["recent_alerts"] = _newest(measured, asked)
        report["monitor"] = self._own(readers)
        return report

    def reports(self, asked: Asked = Asked()) -> list[Report]:  # noqa: B008 immutable
        """Return the report of every model; one that cannot be made is said, and missing."""
        found = []
        for model in self.models():
            try:
                found.append(self.report(model, asked))
            except Exception as error:  # noqa: BLE001 of one model; its metrics are missing, which MonitorBlind sees
                log.error("%s cannot be reported: %s", model, place_of(error))  # noqa: TRY400 no text
        return found

    async def _stored_models(self) -> set[str]:
        """Return the models in the store; those known before, while it does not answer."""
        if self._listing is None:
            self._listing = beside(lambda: models_in(self._settings.models))
        done, _ = await asyncio.wait([self._listing], timeout=EVERY_S)
        if not done:
            log.warning("the models' folder does not answer: the models known before are watched")
            return set(self._seen_s)
        listing, self._listing = self._listing, None
        try:
            return set(listing.result())
        except OSError as error:
            log.warning("cannot see which models there are: %s", error.strerror)
            return set(self._seen_s)

    async def _new_tags(self) -> list[Tag]:
        models = await self._stored_models()
        try:
            models |= set(await served_models(self._redis))
        except RedisError as error:
            log.warning("cannot see which models are served: %s", type(error).__name__)
            models |= self._seen_s.keys()  # nothing is known to have been removed
        self._seen_s |= dict.fromkeys(models, time.monotonic())
        tags = (Tag(model, shard) for model in sorted(models) for shard in range(self._settings.shards))
        return [tag for tag in tags if tag not in self.readers]

    def _follow(self, tag: Tag, stop: asyncio.Event) -> None:
        place = self._settings.models / tag.model
        profiles = self._profiles.setdefault(tag.model, Profiles(place, self._settings.rules, self._store))
        self._measured[tag] = Measured()
        reader = self.readers[tag] = Reader(self._redis, self._settings, tag, profiles, self._owner)
        self._tasks[tag] = self.duties.begin(reader.run(stop), reader.pulse)

    async def _forget_removed(self) -> None:
        """Leave models that are gone, so that their keys may be deleted; a snapshot that stays is gone on from."""
        oldest_s = time.monotonic() - GONE_S
        for tag in [tag for tag in self.readers if self._seen_s[tag.model] < oldest_s]:
            await self.duties.end([self._tasks.pop(tag)])
            del self.readers[tag], self._measured[tag]
            self._profiles.pop(tag.model, None)
            self._seen_s.pop(tag.model, None)
            log.info("%s is neither in the store nor served: no longer watched", tag)

    async def _measure(self) -> None:
        for tag, measured in self._measured.items():
            try:
                await self._clock.sync(self._redis)
                measured.groups = await group_states(self._redis, tag)
                measured.requests = await entries_added(self._redis, tag.requests)
                announced = await announcements(self._redis, tag.model)
                measured.workers = [one for one in announced if one.is_live(self._clock.now_ms())]
                gaps: Any = await self._redis.hgetall(tag.gaps)
                measured.gaps = whole_numbers(gaps)
                measured.alerts = await read_alerts(self._redis, tag, ALERTS)
                measured.pointer = await wanted(self._redis, tag.model)
            except Exception as error:  # noqa: BLE001 what one model's keys hold may not end the measuring of others
                measured.failures += 1
                log.warning("cannot measure %s: %s", tag, place_of(error))

    def _own(self, readers: dict[Tag, Reader]) -> dict[str, Any]:
        """Return what is known of the monitor and of the groups; lags add, the oldest entry of any shard counts."""
        now_ms = self._clock.now_ms()
        failures: dict[str, int] = {}
        for tag, reader in readers.items():
            for name, count in [*reader.failures.items(), ("groups", self._measured[tag].failures)]:
                failures[name] = failures.get(name, 0) + count
        return {
            "requests": _sum([self._measured[tag].requests for tag in readers]),
            "fleet": _fleet([self._measured[tag].workers for tag in readers]),
            "groups": _groups([self._measured[tag] for tag in readers]),
            "gaps": _gaps([self._measured[tag] for tag in readers]),
            "failures": failures,
            "catching_up": any(reader.catching_up for reader in readers.values()),
            "lag_seconds": max(reader.lag_s(now_ms) for reader in readers.values()),
            "trouble": {str(tag): reader.trouble for tag, reader in readers.items() if reader.trouble},
            "snapshot_age_seconds": max(reader.snapshot_age_s for reader in readers.values()),
            "entries_folded": sum(reader.folded for reader in readers.values()),
        }


def _groups(measured: list[Measured]) -> dict[str, dict[str, float | None]]:
    """Return "stream/group" to its state, added over the shards."""
    found: dict[str, list[GroupState]] = {}
    for one in measured:
        for state in one.groups:
            found.setdefault(f"{state.stream}/{state.group}", []).append(state)
    return {
        key: {
            "lag": None if any(s.lag is None for s in states) else sum(s.lag or 0 for s in states),
            "pending": sum(s.pending for s in states),
            "oldest_seconds": max((s.oldest_ms or 0) / 1000 for s in states),
        }
        for key, states in found.items()
    }


def _sum(counts: list[int | None]) -> int | None:
    """Return the sum over the shards; None as long as one of them was never measured."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _fleet(seen: list[list[Announcement] | None]) -> dict[str, float] | None:
    """Return how many workers there are and how fast they are together, as each shard's last look found the same."""
    workers = next((found for found in reversed(seen) if found is not None), None)
    if workers is None:
        return None
    return {"workers": len(workers), "texts_per_second": sum(one.texts_per_second for one in workers)}


def _gaps(measured: list[Measured]) -> dict[str, int]:
    """Return the gaps that others counted; the monitor counts its own, exactly, in its state."""
    total: dict[str, int] = {}
    for one in measured:
        for name, count in one.gaps.items():
            if not name.endswith(f"/{MONITOR}"):
                total[name] = total.get(name, 0) + count
    return total


def _newest(measured: list[Measured], asked: Asked) -> list[Report]:
    """Return the newest alerts of every shard that were asked for, newest first."""
    alerts = [alert for one in measured for alert in one.alerts]
    return [
        alert.model_dump()
        for alert in sorted(alerts, key=lambda alert: -alert.at_ms)
        if asked.version in {None, alert.version} and alert.at_ms >= (asked.since_ms or 0)
    ][:ALERTS]


async def _either(stop: asyncio.Event, seconds: float) -> None:
    """Wait for *stop*, at most so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
