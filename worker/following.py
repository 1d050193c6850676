"""Holding what the store's pointer wants: the next version is made ready beside serving, then takes over at once."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from broker.errors import ModelRefusedError
from broker.manifest import Pointer
from worker.handler import Handler
from worker.loading import Loading, Ready
from worker.metrics import REFUSED, SWAPS
from worker.models import Loaded, Served
from worker.speed import Speed
from worker.trouble import PASSING, Trouble

LOOK_S: Final = 3.0  # between two looks at the pointer; a message on the control stream makes it sooner
AGAIN_S: Final = 60.0  # before a version that was refused is tried again: somebody may have put it right

logger = logging.getLogger(__name__)


class Follower:
    """One model of one worker: what is served of it, what is wanted, and what was refused and why."""

    def __init__(self, served: Served, speed: Speed, handlers: Sequence[Handler], loading: Loading) -> None:
        self.served = served
        self.speed = speed
        self.pointer: Pointer | None = None  # as last read
        self.tell: Callable[[], Awaitable[None]] | None = None  # called when one of the above has changed
        self._handlers = handlers
        self._loading = loading
        self._loaded: dict[str, Loaded] = dict(served.versions)
        self._paces = {served.live: (speed.texts_per_second, speed.batch)}
        self._refused: dict[str, str] = {}
        self._refused_at: dict[str, float] = {}
        self._shadows: Mapping[str, Ready] = {}
        self._refused_shadows: Mapping[str, str] = {}
        self._shown: set[str] = set()
        self._show()
        self._released = False  # since memory was last given back
        self._hurry = asyncio.Event()
        self._trouble = Trouble("following", served.name)

    @property
    def refused(self) -> dict[str, str]:
        """Versions that are wanted and could not be loaded, to the reason."""
        wanted = self.pointer.shadows if self.pointer else {}
        return {version: why for version, why in self._refused_shadows.items() if version in wanted} | self._refused

    @property
    def held(self) -> dict[str, Loaded]:
        """The live version, and the canary if it is here."""
        served = self.served
        return {name: loaded for name, loaded in served.versions.items() if name in {served.live, served.canary}}

    @property
    def shadows(self) -> dict[str, Loaded]:
        """Shadow versions that are fast enough to answer whoever pins one."""
        return {version: ready.loaded for version, ready in self._shadows.items() if ready.batch}

    async def show_shadows(self, running: Mapping[str, Ready], refused: Mapping[str, str]) -> None:
        """Let callers who pin a *running* shadow have it, and say which were *refused* and why."""
        self._shadows, self._refused_shadows = running, refused
        self._show()
        if self.pointer:
            await self._arrange(self.pointer)
        await self._tell()

    async def run(self) -> None:
        """Look at the pointer, over and over, and do what it says."""
        while True:
            self._hurry.clear()
            with self._trouble.waited_out():
                if self._released:
                    await self._loading.give_back()
                    self._released = False
                await self.look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), LOOK_S)

    def hurry(self) -> None:
        """Look now: something changed."""
        self._hurry.set()

    async def look(self) -> None:
        """Read the pointer and hold what it wants; read it again after each version, which takes seconds to load.

        Raises:
            ModelRefusedError, StoreError: the pointer cannot be read, or a version cannot be fetched now.

        """
        while True:
            pointer = await self._loading.pointer(self.served.name)
            if pointer != self.pointer:
                self.pointer = pointer
                self._forgive()
            await self._arrange(pointer)
            missing = next((version for version in _wanted(pointer) if self._is_missing(version)), None)
            if missing is None:
                return
            await self._load(missing)

    def _is_missing(self, version: str) -> bool:
        return version not in self._loaded and time.monotonic() - self._refused_at.get(version, -AGAIN_S) >= AGAIN_S

    async def _load(self, version: str) -> None:
        name = self.served.name
        try:
            ready = await self._loading.ready(name, version)
        except ModelRefusedError as error:
            logger.error("a version is refused: %s", error, extra={"model": name, "version": version})  # noqa: TRY400
            self._refused_at[version] = time.monotonic()
            self._refused[version] = str(error)
            self._show()
            await self._tell()
            return
        self._forgive(version)
        self._loaded[version] = ready.loaded
        self._paces[version] = (ready.warmth.texts_per_second, ready.batch)

    async def _arrange(self, pointer: Pointer) -> None:
        """Serve what is wanted and loaded and drop the rest, the former live version only when the next is here."""
        before = self.served
        live = pointer.version if pointer.version in self._loaded else before.live
        canary = pointer.canary.version if pointer.canary else None
        held = {version: self._loaded[version] for version in (live, canary) if version and version in self._loaded}
        canary = None if canary == live or canary not in held else canary
        versions = self.shadows | held
        if (live, canary, versions) == (before.live, before.canary, before.versions):
            return
        self._released = True
        self._loaded = held
        self.served = Served(before.name, live, versions, canary)
        for handler in self._handlers:
            handler.served = self.served
        self._keep_pace()
        self._show()
        if live != before.live:
            self.speed.texts_per_second, _ = self._paces[live]
            SWAPS.labels(before.name).inc()
            logger.info("another version is live", extra={"model": before.name, "version": live, "before": before.live})
        await self._tell()

    def _keep_pace(self) -> None:
        """Read no more at once than the slowest of those who may answer can finish in time."""
        self._paces = {version: pace for version, pace in self._paces.items() if version in self._loaded}
        batches = [batch for _, batch in self._paces.values()]
        batches += [ready.batch for ready in self._shadows.values() if ready.batch]
        self.speed.batch = min(batches, default=self.speed.batch)

    def _forgive(self, *versions: str) -> None:
        for version in versions or tuple(self._refused):
            self._refused_at.pop(version, None)
            self._refused.pop(version, None)
        self._show()

    def _show(self) -> None:
        """Let the metric say 0 for what is held, 1 for what is refused, and nothing of other versions."""
        now = dict.fromkeys([*self._shadows, *self._loaded], 0) | dict.fromkeys(self.refused, 1)
        for version in self._shown - now.keys():
            REFUSED.remove(self.served.name, version)
        for version, state in now.items():
            REFUSED.labels(self.served.name, version).set(state)
        self._shown = set(now)

    async def _tell(self) -> None:
        if self.tell:
            with suppress(*PASSING):  # it is said again every few seconds
                await self.tell()


def _wanted(pointer: Pointer) -> Iterator[str]:
    yield pointer.version
    if pointer.canary:
        yield pointer.canary.version
