"""Which shadow versions of one model run in this worker: those that Redis says are wanted."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis

from broker.announcements import EVERY_S
from broker.duties import cancel
from broker.errors import ModelRefusedError
from broker.manifest import Pointer
from broker.streams import Tag
from broker.versions import wanted
from worker.loading import Ready
from worker.metrics import SHADOW_RUNNING
from worker.serving import Means
from worker.shadow import Shadow
from worker.trouble import Trouble

AGAIN_S: Final = 60.0  # before a version that was refused is tried again

logger = logging.getLogger(__name__)


@dataclass
class _Running:
    ready: Ready
    shadows: list[Shadow]  # one a shard
    tasks: list[asyncio.Task[None]]

    @property
    def has_failed(self) -> bool:
        """Whether one has ended by itself."""
        return any(task.done() for task in self.tasks)


@dataclass
class Shadowing:
    """Starts and ends the shadows of *model*.

    *load* returns a version, or raises ModelRefusedError; *show* is told what runs, and what was refused and why.
    """

    redis: Redis
    model: str
    load: Callable[[str], Awaitable[Ready]]
    show: Callable[[Mapping[str, Ready], Mapping[str, str]], Awaitable[None]]
    means: Means
    _pointer: Pointer | None = None  # as last read
    _running: dict[str, _Running] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    _refused_at: dict[str, float] = field(default_factory=dict)
    _shown: set[str] = field(default_factory=set)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Look, over and over; when cancelled, end every shadow."""
        trouble = Trouble("shadowing", self.model)
        try:
            while True:
                with trouble.waited_out():
                    await self.look()
                await asyncio.sleep(EVERY_S)
        finally:
            for version in list(self._running):
                await self._end(version)
            self._measure(())

    async def look(self) -> None:
        """Start what is wanted and not running, end what is running and not wanted.

        Raises:
            SettingsError: one is wanted, and the log keeps no texts that it could read.

        """
        async with self._looking:
            pointer = await wanted(self.redis, self.model)
            if pointer is None:
                return
            if pointer != self._pointer:
                self._pointer = pointer
                self._refused_at.clear()
            before = (self._running.copy(), self._refused.copy())
            try:
                await self._arrange(pointer.shadows)
            finally:
                self._measure(pointer.shadows)
                if before != (self._running, self._refused):
                    await self.show({name: one.ready for name, one in self._running.items()}, dict(self._refused))

    async def _arrange(self, wanted_shares: Mapping[str, float]) -> None:
        if wanted_shares:
            self.means.settings.need_texts("a shadow version")
        for version in self._refused.keys() - wanted_shares.keys():
            self._forgive(version)
        await self._end_failed()
        for version in self._running.keys() - wanted_shares.keys():
            await self._end(version)
            logger.info("a shadow version has ended", extra={"model": self.model, "version": version})
        for version, share in wanted_shares.items():
            if version in self._running:
                for shadow in self._running[version].shadows:
                    shadow.share = share
            elif time.monotonic() - self._refused_at.get(version, -AGAIN_S) >= AGAIN_S:
                await self._start(version, share)

    async def _start(self, version: str, share: float) -> None:
        try:
            ready = await self.load(version)
        except ModelRefusedError as error:
            self._refused_at[version] = time.monotonic()
            self._refused[version] = str(error)
            logger.warning("a shadow version is refused: %s", error, extra={"model": self.model, "version": version})
            return
        self._forgive(version)
        tags = [Tag(self.model, shard) for shard in range(self.means.settings.shards)]
        shadows = [Shadow(self.redis, tag, ready.loaded, share, self.means) for tag in tags]
        duties = [duty for shadow in shadows for duty in shadow.duties()]
        tasks = [
            asyncio.create_task(self._watched(version, duty), name=getattr(duty, "__qualname__", None))
            for duty in duties
        ]
        self._running[version] = _Running(ready, shadows, tasks)
        logger.info("a shadow version runs", extra={"model": self.model, "version": version, "share": share})

    def _forgive(self, version: str) -> None:
        self._refused_at.pop(version, None)
        self._refused.pop(version, None)

    def _measure(self, wanted_versions: Iterable[str]) -> None:
        """Let the metric tell of *wanted_versions* whether they run here, and nothing of others."""
        for version in self._shown - set(wanted_versions):
            SHADOW_RUNNING.remove(self.model, version)
        self._shown = set(wanted_versions)
        for version in self._shown:
            running = self._running.get(version)
            SHADOW_RUNNING.labels(self.model, version).set(int(running is not None and not running.has_failed))

    async def _watched(self, version: str, duty: Coroutine[Any, Any, None]) -> None:
        """Do a shadow's *duty*; whatever is wrong with it is no reason for the worker to stop answering."""
        try:
            await duty
        except Exception:
            logger.exception("a shadow failed", extra={"model": self.model, "version": version})

    async def _end_failed(self) -> None:
        for version in [name for name, running in self._running.items() if running.has_failed]:
            await self._end(version)
            self._refused_at[version] = time.monotonic()
            self._refused[version] = "it failed while it ran; the worker's log has the place, and it is tried again"

    async def _end(self, version: str) -> None:
        running = self._running.pop(version)
        await cancel(running.tasks)
