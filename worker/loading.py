"""Getting a version ready to serve: fetched, checked, loaded, warm. Also beside serving, on a thread that gives way."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from broker.errors import ModelRefusedError
from broker.manifest import Pointer
from broker.memory import give_back
from broker.store import Store, store_of
from worker.models import Loaded, Served, first_line, load_version
from worker.settings import WorkerSettings
from worker.speed import Speed, Warmth, batch_that_fits, warm_up
from worker.turns import give_way

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """A version that may answer, and how fast it is."""

    loaded: Loaded
    warmth: Warmth
    batch: int  # most entries read at once, if it is to answer them; 0: too slow for whoever waits


class Loading:
    """The store as one worker sees it."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._store: Store = store_of(settings)
        self._copied: dict[str, Pointer] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loading", initializer=give_way)

    async def models(self) -> list[str]:
        """Return the names of all models of the store.

        Raises:
            StoreError: the store cannot be read.

        """
        return await self._beside(self._store.models)

    async def begin(self, model: str) -> tuple[Served, Speed]:
        """Return *model* with its live version, without holding up whoever serves others.

        Raises:
            ModelRefusedError: neither the live version nor the one before can be loaded.
            StoreError: it cannot be fetched now.

        """
        return await self._beside(lambda: self._first(model))

    async def pointer(self, model: str) -> Pointer:
        """Return which versions of *model* are wanted.

        Raises:
            ModelRefusedError, StoreError: the pointer cannot be read.

        """
        return await self._beside(lambda: self._read_pointer(model))

    async def ready(self, model: str, version: str) -> Ready:
        """Return a version that is ready, without holding up whoever serves.

        Raises:
            ModelRefusedError: it may not serve.
            StoreError: it cannot be fetched now.

        """
        return await self._beside(lambda: self.ready_now(model, version))

    async def shadow(self, model: str, version: str) -> Ready:
        """Return a version to run as a shadow, however slow it is, without holding up whoever serves.

        Raises:
            ModelRefusedError: it is damaged, or not what its place says.
            StoreError: it cannot be fetched now.

        """
        return await self._beside(lambda: self._shadow_now(model, version))

    def ready_now(self, model: str, version: str) -> Ready:
        """Return a version that is ready; takes seconds.

        Raises:
            ModelRefusedError: it may not serve.
            StoreError: it cannot be fetched now.

        """
        return self._warmed(self.load(model, version))

    def _shadow_now(self, model: str, version: str) -> Ready:
        loaded = self.load(model, version)
        try:
            return self._warmed(loaded)
        except ModelRefusedError as error:
            logger.warning("a shadow version answers nobody who names it: %s", error)
            return Ready(loaded, Warmth(0.0, 0.0), 0)

    def _warmed(self, loaded: Loaded) -> Ready:
        model, version = loaded.manifest.name, loaded.manifest.version
        try:
            warmth = warm_up(loaded, self._settings.worker_batch)
            batch = batch_that_fits(self._settings, model, warmth.slowest_batch_s)
        except Exception as error:  # a model of any kind may raise anything
            raise ModelRefusedError(f"{model} {version}: {first_line(error)}") from error
        logger.info(
            "model is warm",
            extra={
                "model": model,
                "version": version,
                "texts_per_second": round(warmth.texts_per_second, 1),
                "slowest_batch_s": round(warmth.slowest_batch_s, 3),
                "batch": batch,
            },
        )
        return Ready(loaded, warmth, batch)

    def load(self, model: str, version: str) -> Loaded:
        """Fetch a version if it is not here, and load it.

        Raises:
            ModelRefusedError: it is damaged, or not what its place says.
            StoreError: it cannot be fetched now.

        """
        folder = self._store.fetch(model, version, self._settings.models)
        loaded = load_version(folder)
        if (loaded.manifest.name, loaded.manifest.version) != (model, version):
            raise ModelRefusedError(f"{folder}: model.json is of {loaded.manifest.name} {loaded.manifest.version}")
        return loaded

    def first(self) -> list[tuple[Served, Speed]]:
        """Return the models to serve from the start, each with its live version.

        Of a worker that serves all of the store, a damaged model stops no other: `Discovery` tries it again.

        Raises:
            ModelRefusedError: there is nothing to serve, or of a model neither the live version nor the one before
                can be loaded, and it is named or the only one.
            StoreError: the store cannot be read.

        """
        names = list(self._settings.worker_models) or self._store.models()
        if not names:
            raise ModelRefusedError(f"{self._store}: no model with a live.json; set OBSERVA_MODELS or run `just train`")
        found = []
        for name in names:
            try:
                found.append(self._first(name))
            except ModelRefusedError as error:
                if self._settings.worker_models or (name == names[-1] and not found):
                    raise
                logger.error("a model is refused: %s", error, extra={"model": name})  # noqa: TRY400 one line
        give_back()
        return found

    async def give_back(self) -> None:
        """Give the memory of versions that were released back to the system."""
        await self._beside(give_back)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read_pointer(self, model: str) -> Pointer:
        pointer = self._store.pointer(model)
        if self._copied.get(model) != pointer:
            self._store.copy_pointer(model, pointer, self._settings.models)
            self._copied[model] = pointer
        return pointer

    def _first(self, model: str) -> tuple[Served, Speed]:
        pointer = self._store.pointer(model)
        version = pointer.version
        try:
            found = self.ready_now(model, version)
        except ModelRefusedError as error:
            if pointer.previous is None:
                raise
            logger.error("the live version is refused, the one before it serves: %s", error)  # noqa: TRY400 one line
            version = pointer.previous
            found = self.ready_now(model, version)
        return Served(model, version, {version: found.loaded}), Speed(found.warmth.texts_per_second, found.batch)

    async def _beside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
