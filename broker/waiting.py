"""Accepted requests that have no answer yet: until when each may wait, and which entry it is."""

import re
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from broker.settings import BrokerSettings
from broker.streams import PredictionId, Tag

AT_ONCE: Final = 500  # of a page; Redis looks at about as many
_STORED: Final = re.compile(rb"(?P<due>\d{1,16}) (?P<entry>\d{1,15}-\d{1,19})")


@dataclass(frozen=True, slots=True)
class Waiting:
    """One accepted request that has no answer."""

    id: PredictionId
    due_ms: int  # when its deadline passes, Redis time
    entry_id: str
    stored: bytes

    def is_overdue(self, now_ms: float, settings: BrokerSettings) -> bool:
        """Tell whether it is late even for a worker that began in time: that one ends, or is taken over from."""
        return now_ms > self.due_ms + settings.claim_ms


async def find_waiting(redis: Redis, prediction: PredictionId) -> Waiting | None:
    """Return what is known of a request that has no answer; None where it has one, or was never accepted."""
    stored: Any = await redis.hget(prediction.tag.waiting, prediction.uuid)
    return _read(prediction, stored)


async def waiting_page(redis: Redis, tag: Tag, cursor: int) -> tuple[int, list[Waiting]]:
    """Return where the next page begins, 0 after the last one, and what waits on this one; the first begins at 0."""
    page: Any = await redis.hscan(tag.waiting, cursor, count=AT_ONCE)
    found = [_read(PredictionId(tag, uuid.decode(errors="replace")), stored) for uuid, stored in page[1].items()]
    return int(page[0]), [one for one in found if one]


def _read(prediction: PredictionId, stored: bytes | None) -> Waiting | None:
    match = _STORED.fullmatch(stored or b"")
    if match is None or not _is_id(prediction):
        return None
    return Waiting(prediction, int(match["due"]), match["entry"].decode(), match.string)


def _is_id(prediction: PredictionId) -> bool:
    try:
        return PredictionId.parse(str(prediction)) == prediction
    except ValueError:
        return False
