"""What the gateway knows of the workers: who serves what, how fast, and how full Redis is. Refreshed every second."""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast, get_args

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.announcements import Announcement, ServedVersion, announcements, served_models
from broker.connection import Clock, Weakness, weaknesses
from broker.duties import Pulse
from broker.inspection import memory_ratio
from broker.manifest import Pointer
from broker.shares import is_in_share
from broker.streams import Tag
from broker.versions import wanted
from gateway.metrics import Metrics
from gateway.settings import GatewaySettings

REFRESH_S: Final = 1.0
SOON_S: Final = 0.1  # between two looks while nobody serves the default model
SILENT_MS: Final = 30_000  # no worker heard of for this long: nobody will answer
EXAMINE_S: Final = 60.0  # between two looks at how the server is configured
EMPTIED_S: Final = 3.0  # not ready for so long after the log was emptied, so that whoever probes sees it
UNKNOWN_S: Final = 1.0  # an unknown name is not asked for again within this time
MOST_UNKNOWN: Final = 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model, as its workers announced it."""

    name: str
    live: str | None = None  # the version that answers unless a call names another; `wanted` may be ahead of it
    versions: Mapping[str, ServedVersion] = field(default_factory=dict)  # of live workers, shadows among them
    labels: frozenset[str] = frozenset()  # of any version ever announced
    texts_per_second: float = 0.0  # of live workers together
    workers: int = 0  # live ones
    seen_ms: float | None = None  # when a worker that is not leaving was last heard of, Redis time
    wanted: Pointer | None = None  # as the operator set it
    canary: str | None = None  # the version that is tried, once every live worker has it
    refused: frozenset[str] = frozenset()  # versions that are wanted and that a live worker could not load
    shards: int = 1  # that a live worker reads

    def version_for(self, key: str) -> str | None:
        """Return which version shall answer *key* (a subject, an id): the canary for its share of keys, else live."""
        if self.canary and self.wanted and self.wanted.canary:
            share, draw = self.wanted.canary.share, f"canary {self.name} {self.canary}"
            if is_in_share(key, share, draw):
                return self.canary
        return self.live


class Fleet:
    """The models, by name."""

    def __init__(self, redis: Redis, clock: Clock, metrics: Metrics, settings: GatewaySettings) -> None:
        self._redis = redis
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._models: dict[str, ModelView] = {settings.model: ModelView(settings.model)}
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self.pulse = Pulse()
        self.reachable = False  # whether the last refresh worked
        self.memory_ratio = 0.0  # of maxmemory; 0 where there is none
        self._default = settings.model
        self._examined_at = -math.inf
        self._weaknesses: dict[Weakness, str] = {}
        self._born: bytes | None = None
        self._settled_at = 0.0

    @property
    def settled(self) -> bool:
        """Whether the log is the one it was: false for a while after FLUSHALL, or a restart that lost the data."""
        return time.monotonic() >= self._settled_at

    @property
    def models(self) -> list[ModelView]:
        """Every known model, by name."""
        return [self._models[name] for name in sorted(self._models)]

    async def find(self, name: str) -> ModelView | None:
        """Return what is known of *name*; a name not heard of is looked up, but not too often."""
        if name in self._models:
            return self._models[name]
        if self._unknown.get(name, 0) > time.monotonic():
            return None
        view = await self._look(name)
        if view.seen_ms is not None:
            self._models[name] = view
            return view
        self._unknown[name] = time.monotonic() + UNKNOWN_S
        self._unknown.move_to_end(name)
        if len(self._unknown) > MOST_UNKNOWN:
            self._unknown.popitem(last=False)
        return None

    def serves(self, view: ModelView) -> bool:
        """Tell whether somebody is there to answer; while Redis is out of reach, what was known last holds."""
        if view.seen_ms is None:
            return False
        return not self.reachable or self._clock.now_ms() - view.seen_ms <= SILENT_MS

    async def refresh(self) -> None:
        """Read the announcements of all models, and how full Redis is."""
        await self._clock.sync(self._redis)
        await self._look_at_birth()
        for name in {*self._models, *await served_models(self._redis)}:
            self._models[name] = await self._look(name)
        self.memory_ratio = await memory_ratio(self._redis)
        self._metrics.broker_memory.set(self.memory_ratio)
        self.reachable = True
        if time.monotonic() - self._examined_at >= EXAMINE_S:
            await self._examine()

    async def refresh_forever(self) -> None:
        """Refresh as long as the process runs."""
        while True:
            await asyncio.sleep(REFRESH_S if self.serves(self._models[self._default]) else SOON_S)
            self.pulse.beat()
            try:
                await self.refresh()
            except (RedisError, OSError) as error:
                if self.reachable:
                    log.warning("Redis is out of reach: %s", type(error).__name__)
                self.reachable = False
                self._metrics.broker_failures.labels("fleet").inc()

    async def _examine(self) -> None:
        """Say what the server would lose, should it have been configured anew: only a start refuses such a server."""
        found = await weaknesses(self._redis, self._settings)
        self._examined_at = time.monotonic()
        for weakness in get_args(Weakness):
            self._metrics.broker_unsafe.labels(weakness).set(weakness in found)
        for weakness in found.keys() - self._weaknesses.keys():
            log.error("the log is not safe: %s", found[weakness])
        self._weaknesses = found

    async def _look_at_birth(self) -> None:
        born = cast("bytes | None", await self._redis.get(Tag(self._default).born))
        if self._born is not None and born != self._born:
            log.warning("the log was emptied or replaced: what was accepted before and not answered is gone")
            self._settled_at = time.monotonic() + EMPTIED_S
        self._born = born

    async def _look(self, name: str) -> ModelView:
        known = self._models.get(name, ModelView(name))
        announced = await announcements(self._redis, name)
        pointer = await wanted(self._redis, name)
        now_ms = self._clock.now_ms()
        live = sorted((one for one in announced if one.is_live(now_ms)), key=lambda one: one.seen_ms)
        gone = 0.0 if announced or known.seen_ms is not None else None  # heard of once, not there now
        canary = pointer.canary.version if pointer and pointer.canary else None
        labels = {label for one in announced for version in one.loaded.values() for label in version.labels}
        return ModelView(
            name=name,
            live=_live(pointer, live) or known.live,
            versions={version: served for one in live for version, served in one.loaded.items()},
            labels=known.labels | labels,
            texts_per_second=sum(one.texts_per_second for one in live),
            workers=len(live),
            seen_ms=max((one.seen_ms for one in announced if not one.leaving), default=gone),
            wanted=pointer,
            refused=frozenset(version for one in live for version in one.refused),
            shards=max((one.shards for one in live), default=known.shards),
            canary=canary if live and all(canary in one.versions for one in live) else None,
        )


def _live(pointer: Pointer | None, workers: Sequence[Announcement]) -> str | None:
    """Return the version that answers now: what is wanted, once a worker has it; until then, what the newest says."""
    if pointer and (not workers or any(pointer.version in one.versions for one in workers)):
        return pointer.version
    return workers[-1].live if workers else None
