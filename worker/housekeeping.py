"""What a worker does beside serving: say what it serves, keep Redis' time, mirror the pointer, trim the log."""

import asyncio
import math
import time
from dataclasses import dataclass

from redis.asyncio import Redis

from broker.announcements import EVERY_S, Announcement, ServedVersion, announce
from broker.budget import Budget
from broker.connection import Clock
from broker.janitor import keep_house
from broker.settings import BrokerSettings
from broker.versions import mirror_newer
from worker.following import Follower
from worker.metrics import KEPT
from worker.models import Loaded
from worker.overdue import Overdue
from worker.serving import Serving
from worker.trouble import Trouble

HOUSE_S = 2
UNSERVED_S = 60
BUDGET_S = 1  # what comes meanwhile must fit between the budget and where the gateway refuses


@dataclass
class Announcer:
    """Announces one model of one worker."""

    redis: Redis
    follower: Follower
    worker: str
    clock: Clock
    shards: int
    _leaving: bool = False

    async def run(self) -> None:
        """Announce, over and over."""
        trouble = Trouble("announcing", self.follower.served.name)
        while True:
            with trouble.waited_out():
                await self.clock.sync(self.redis)
                await self.announce()
            await asyncio.sleep(EVERY_S)

    async def announce(self, *, leaving: bool = False) -> None:
        """Say what is served, and what the pointer wants if Redis knows less of it than the store."""
        self._leaving = self._leaving or leaving
        served, pointer = self.follower.served, self.follower.pointer
        if pointer:
            await mirror_newer(self.redis, served.name, pointer)
        announcement = Announcement(
            worker=self.worker,
            live=served.live,
            versions={version: _described(loaded) for version, loaded in self.follower.held.items()},
            shadows={version: _described(loaded) for version, loaded in self.follower.shadows.items()},
            texts_per_second=round(self.follower.speed.texts_per_second, 1),
            seen_ms=int(self.clock.now_ms()),
            leaving=self._leaving,
            refused=self.follower.refused,
            generation=pointer.generation if pointer else None,
            shards=self.shards,
        )
        await announce(self.redis, served.name, announcement)


async def keep_house_often(redis: Redis, serving: Serving) -> None:
    """Do the janitor's round of one tag, over and over; only one worker at a time really does it."""
    means, overdue = serving.means, Overdue(redis, serving)
    trouble = Trouble("housekeeping", serving.tag.model)
    while True:
        await asyncio.sleep(HOUSE_S)
        with trouble.waited_out():
            if await keep_house(redis, means.settings, serving.tag, means.worker):
                await overdue.look()


async def keep_budget_often(redis: Redis, settings: BrokerSettings, worker: str) -> None:
    """Keep the servers within their budget, over and over; only one worker at a time really does it.

    It also keeps house for models that no worker serves any more: their texts go when their hour has come.
    """
    trouble, tidying = Trouble("keeping the budget", settings.model), Trouble("housekeeping", settings.model)
    budget, tidied_s = Budget(redis, settings, worker), -math.inf
    while True:
        await asyncio.sleep(BUDGET_S)
        with trouble.waited_out():
            await budget.keep()
        if time.monotonic() - tidied_s > UNSERVED_S:
            tidied_s = time.monotonic()
            for tag in budget.unserved:
                with tidying.waited_out():
                    await keep_house(redis, settings, tag, worker)
        KEPT.clear()
        for model, kinds in budget.kept_s.items():
            for kind, seconds in kinds.items():
                KEPT.labels(model, kind).set(seconds)


def _described(loaded: Loaded) -> ServedVersion:
    manifest = loaded.manifest
    return ServedVersion(
        labels=manifest.labels,
        max_length=manifest.max_length,
        digest=loaded.digest,
        target_accuracy=manifest.target_accuracy,
        metrics=manifest.metrics,
    )
