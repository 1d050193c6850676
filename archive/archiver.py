"""All models at once: finds them, follows each shard, keeps the files in order."""

import asyncio
import logging
import time
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from archive.follower import Follower
from archive.pending import Memory
from archive.settings import ArchiveSettings
from archive.upkeep import EVERY_S as UPKEEP_S
from archive.upkeep import Upkeep
from broker.announcements import served_models
from broker.archiving import ArchiveWriter
from broker.duties import Duties
from broker.manifest import models_in
from broker.streams import Tag

EVERY_S: Final = 5.0  # between two looks at the models
GONE_S: Final = 15.0  # a model neither in the store nor announced for so long was removed
FRESH_S: Final = 10.0  # without an answer from Redis for so long a follower is not healthy

log = logging.getLogger(__name__)


class Archiver:
    """Followers by tag. A second archiver does no harm: each looks what the files hold before it writes."""

    def __init__(self, redis: Redis, settings: ArchiveSettings, archive: ArchiveWriter) -> None:
        self.duties = Duties()
        self.followers: dict[Tag, Follower] = {}
        self._redis = redis
        self._settings = settings
        self._archive = archive
        self._memory = Memory(settings.archive_flush_mb << 20)
        self._upkeep: dict[Tag, Upkeep] = {}
        self._tasks: dict[Tag, tuple[asyncio.Event, asyncio.Task[None]]] = {}
        self._seen_s: dict[str, float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Archive until *stop*, then write what is held."""
        kept_s = time.monotonic()
        while not stop.is_set():
            await self._see_models()
            self._follow()
            self._leave_removed()
            if time.monotonic() - kept_s >= UPKEEP_S:
                await self._keep_up()
                kept_s = time.monotonic()
            await _either(stop, EVERY_S)
        for stopped, _ in self._tasks.values():
            stopped.set()
        if self._tasks:
            await asyncio.wait({task for _, task in self._tasks.values()})

    def waiting(self) -> dict[str, str]:
        """Return the shards that do not go on, and why."""
        now_s = time.monotonic()
        return {
            str(tag): follower.trouble or "redis"
            for tag, follower in self.followers.items()
            if follower.trouble or now_s - follower.read_s > FRESH_S
        }

    async def _see_models(self) -> None:
        models = set(models_in(self._settings.models))
        try:
            models |= set(await served_models(self._redis))
        except RedisError:
            models |= self._seen_s.keys()  # nothing is known to have been removed
        self._seen_s |= dict.fromkeys(models, time.monotonic())

    def _follow(self) -> None:
        for model in sorted(self._seen_s):
            for shard in range(self._settings.shards):
                tag = Tag(model, shard)
                if tag not in self.followers:
                    follower = Follower(self._redis, self._settings, tag, self._archive, self._memory)
                    stopped = asyncio.Event()
                    self.followers[tag] = follower
                    self._upkeep[tag] = Upkeep(self._redis, self._settings, tag, self._archive)
                    self._tasks[tag] = (stopped, self.duties.begin(follower.run(stopped), follower.pulse))

    def _leave_removed(self) -> None:
        """Leave models that are gone, so that their keys may be deleted; their files stay."""
        oldest_s = time.monotonic() - GONE_S
        for tag in [tag for tag in self.followers if self._seen_s[tag.model] < oldest_s]:
            stopped, _ = self._tasks.pop(tag)
            stopped.set()
            del self.followers[tag], self._upkeep[tag]
            log.info("%s is neither in the store nor served: no longer archived", tag)
        for model in [model for model, seen_s in self._seen_s.items() if seen_s < oldest_s]:
            del self._seen_s[model]

    async def _keep_up(self) -> None:
        for tag, upkeep in self._upkeep.items():
            await upkeep.round({kind: position.last for kind, position in self.followers[tag].positions.items()})


async def _either(stop: asyncio.Event, seconds: float) -> None:
    """Wait for *stop*, at most so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
