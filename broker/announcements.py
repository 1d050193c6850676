"""What the workers say of themselves, and which models there are."""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from redis.asyncio import Redis

from broker.manifest import NAME_PATTERN
from broker.streams import SERVED, workers_key

EVERY_S = 5
LIVE_MS = 15_000  # three announcements missed: gone


class ServedVersion(BaseModel):
    """One version a worker has loaded."""

    model_config = ConfigDict(frozen=True)

    labels: tuple[str, ...]
    max_length: int
    digest: str  # of model.json, which holds the digests of all the other files
    target_accuracy: float
    metrics: dict[str, float]


class Announcement(BaseModel):
    """What one worker serves of one model, and how fast."""

    model_config = ConfigDict(frozen=True)

    worker: str
    live: str  # the version that answers unless a request wants another
    versions: dict[str, ServedVersion]  # live and canary
    shadows: dict[str, ServedVersion] = {}  # which answer whoever pins one
    texts_per_second: float
    seen_ms: int  # Redis time
    leaving: bool = False
    refused: dict[str, str] = {}  # version that is wanted and could not be loaded, to the reason
    generation: int | None = None  # of the pointer that this worker last read
    shards: int = 1  # that this worker reads

    @property
    def loaded(self) -> dict[str, ServedVersion]:
        """Every version that answers whoever pins it."""
        return self.shadows | self.versions

    def is_live(self, now_ms: float) -> bool:
        """Tell whether requests may count on this worker."""
        return not self.leaving and now_ms - self.seen_ms <= LIVE_MS


async def announce(redis: Redis, model: str, announcement: Announcement) -> None:
    """Tell everyone; to be repeated every `EVERY_S` seconds."""
    await redis.hset(workers_key(model), announcement.worker, announcement.model_dump_json())
    await redis.zadd(SERVED, {model: announcement.seen_ms})


async def announcements(redis: Redis, model: str) -> list[Announcement]:
    """Return what was announced for *model*, old ones included; what cannot be read is left out."""
    stored: Any = await redis.hgetall(workers_key(model))
    return [found for value in stored.values() if (found := _read(value))]


async def served_models(redis: Redis) -> list[str]:
    """Return the names of the models that workers have announced of late, sorted; what is no name is left out."""
    names: Any = await redis.zrange(SERVED, 0, -1)
    return sorted(text for name in names if re.fullmatch(NAME_PATTERN, text := name.decode(errors="replace")))


def _read(value: bytes) -> Announcement | None:
    try:
        return Announcement.model_validate_json(value)
    except ValidationError:  # written by a newer worker during an upgrade, or by hand
        return None
