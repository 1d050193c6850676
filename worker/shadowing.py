"""Which shadow versions of one model run in this worker: those that Redis says are wanted."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis

from broker.announcements import EVERY_S
from broker.errors import ModelRefusedError
from broker.streams import Tag
from broker.versions import wanted
from worker.models import Loaded
from worker.serving import Means
from worker.shadow import Shadow
from worker.trouble import PASSING, Trouble

AGAIN_S: Final = 60.0  # before a version that was refused is tried again

logger = logging.getLogger(__name__)


@dataclass
class _Running:
    shadows: list[Shadow]  # one a shard
    tasks: list[asyncio.Task[None]]


@dataclass
class Shadowing:
    """Starts and ends the shadows of *model*; *load* returns a version, or raises ModelRefusedError."""

    redis: Redis
    model: str
    load: Callable[[str], Awaitable[Loaded]]
    means: Means
    _running: dict[str, _Running] = field(default_factory=dict)
    _refused_at: dict[str, float] = field(default_factory=dict)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Look, over and over; when cancelled, end every shadow."""
        trouble = Trouble("shadowing", self.model)
        try:
            while True:
                try:
                    await self.look()
                except PASSING as error:
                    trouble.met(error)
                else:
                    trouble.over()
                await asyncio.sleep(EVERY_S)
        finally:
            for version in list(self._running):
                await self._end(version)

    async def look(self) -> None:
        """Start what is wanted and not running, end what is running and not wanted.

        Raises:
            SettingsError: one is wanted, and the log keeps no texts that it could read.

        """
        async with self._looking:
            pointer = await wanted(self.redis, self.model)
            if pointer is None:
                return
            if pointer.shadows:
                self.means.settings.need_texts("a shadow version")
            for version in self._running.keys() - pointer.shadows.keys():
                await self._end(version)
                logger.info("a shadow version has ended", extra={"model": self.model, "version": version})
            for version, share in pointer.shadows.items():
                if version in self._running:
                    for shadow in self._running[version].shadows:
                        shadow.share = share
                elif time.monotonic() - self._refused_at.get(version, -AGAIN_S) >= AGAIN_S:
                    await self._start(version, share)

    async def _start(self, version: str, share: float) -> None:
        try:
            loaded = await self.load(version)
        except ModelRefusedError as error:
            self._refused_at[version] = time.monotonic()
            logger.warning("a shadow version is refused: %s", error, extra={"model": self.model, "version": version})
            return
        self._refused_at.pop(version, None)
        tags = [Tag(self.model, shard) for shard in range(self.means.settings.shards)]
        shadows = [Shadow(self.redis, tag, loaded, share, self.means) for tag in tags]
        tasks = [asyncio.create_task(self._watched(shadow)) for shadow in shadows]
        self._running[version] = _Running(shadows, tasks)
        logger.info("a shadow version runs", extra={"model": self.model, "version": version, "share": share})

    async def _watched(self, shadow: Shadow) -> None:
        """Run *shadow*; whatever is wrong with it is no reason for the worker to stop answering."""
        try:
            await shadow.run()
        except Exception:
            logger.exception("a shadow failed", extra={"model": self.model, "version": shadow.version})

    async def _end(self, version: str) -> None:
        running = self._running.pop(version)
        for task in running.tasks:
            task.cancel()
        await asyncio.gather(*running.tasks, return_exceptions=True)
