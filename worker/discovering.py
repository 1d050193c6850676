"""Models that come into the store later, for a worker that serves all there are."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

from broker.errors import ModelRefusedError
from worker.loading import Loading
from worker.models import Served
from worker.speed import Speed
from worker.trouble import Trouble

LOOK_S: Final = 10.0  # between two looks at the store; a message on the control stream makes it sooner
AGAIN_S: Final = 60.0  # before a model that was refused is tried again

logger = logging.getLogger(__name__)


class Discovery:
    """Looks for models that are not among the *known* ones, and has each taken once it is ready."""

    def __init__(self, loading: Loading, known: Collection[str], take: Callable[[Served, Speed], None]) -> None:
        self._loading = loading
        self._known = known
        self._take = take
        self._refused_at: dict[str, float] = {}
        self._hurry = asyncio.Event()
        self._trouble = Trouble("discovering", "")

    async def run(self) -> None:
        """Look, over and over."""
        while True:
            self._hurry.clear()
            with self._trouble.waited_out():
                await self._look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), LOOK_S)

    def hurry(self, model: str) -> None:
        """Look now: something was said of *model*."""
        self._refused_at.pop(model, None)
        self._hurry.set()

    async def _look(self) -> None:
        for name in await self._loading.models():
            if name in self._known or time.monotonic() - self._refused_at.get(name, -AGAIN_S) < AGAIN_S:
                continue
            try:
                served, speed = await self._loading.begin(name)
            except ModelRefusedError as error:
                self._refused_at[name] = time.monotonic()
                logger.error("a new model is refused: %s", error, extra={"model": name})  # noqa: TRY400 one line
            else:
                self._take(served, speed)
                logger.info("a new model is served", extra={"model": name, "version": served.live})
