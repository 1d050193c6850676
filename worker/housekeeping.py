"""What a worker does beside serving: say what it serves, keep Redis' time, mirror the pointer, trim the log."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from broker.announcements import EVERY_S, Announcement, ServedVersion, announce
from broker.connection import Clock
from broker.errors import ModelRefusedError
from broker.janitor import keep_house
from broker.manifest import live_version
from broker.settings import BrokerSettings
from broker.streams import Tag, versions_key
from worker.models import Loaded, Served
from worker.speed import Speed
from worker.trouble import PASSING, Trouble

HOUSE_S = 2

logger = logging.getLogger(__name__)


@dataclass
class Announcer:
    """Announces one model of one worker."""

    redis: Redis
    served: Served
    speed: Speed
    worker: str
    clock: Clock
    store: Path
    _said: str = ""
    _leaving: bool = False

    async def run(self) -> None:
        """Announce, over and over."""
        trouble = Trouble("announcing", self.served.name)
        while True:
            try:
                await self.clock.sync(self.redis)
                await self.announce()
            except PASSING as error:
                trouble.met(error)
            else:
                trouble.over()
            await asyncio.sleep(EVERY_S)

    async def announce(self, *, leaving: bool = False) -> None:
        """Say what is served, and write the live version to Redis if an empty one knows none."""
        self._leaving = self._leaving or leaving
        self._read_pointer()
        await self.redis.hsetnx(versions_key(self.served.name), "live", self.served.live)
        announcement = Announcement(
            worker=self.worker,
            live=self.served.live,
            versions={version: _described(loaded) for version, loaded in self.served.versions.items()},
            texts_per_second=round(self.speed.texts_per_second, 1),
            seen_ms=int(self.clock.now_ms()),
            leaving=self._leaving,
        )
        await announce(self.redis, self.served.name, announcement)

    def _read_pointer(self) -> None:
        """Look whether another version is wanted by now; say so once."""
        try:
            wanted = live_version(self.store, self.served.name)
        except ModelRefusedError as error:
            state = str(error)
        else:
            known = wanted in self.served.versions
            state = "" if known else f"version {wanted} is wanted and not loaded; restart this worker to serve it"
        if state and state != self._said:
            logger.warning(state, extra={"model": self.served.name, "live": self.served.live})
        self._said = state


async def keep_house_often(redis: Redis, settings: BrokerSettings, tag: Tag, worker: str) -> None:
    """Do the janitor's round of *tag*, over and over; only one worker at a time really does it."""
    trouble = Trouble("housekeeping", tag.model)
    while True:
        await asyncio.sleep(HOUSE_S)
        try:
            await keep_house(redis, settings, tag, worker)
        except PASSING as error:
            trouble.met(error)
        else:
            trouble.over()


def _described(loaded: Loaded) -> ServedVersion:
    manifest = loaded.manifest
    return ServedVersion(
        labels=manifest.labels,
        max_length=manifest.max_length,
        digest=loaded.digest,
        target_accuracy=manifest.target_accuracy,
        metrics=manifest.metrics,
    )
