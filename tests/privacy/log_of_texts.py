"""Requests put on the log, read and settled without any service."""

from typing import Any

from redis.asyncio import Redis

from broker.answers import Prediction
from broker.events import Request, Result
from broker.log import Log, Unit
from broker.settlement import DeadNote, Settlement
from broker.streams import WORKERS, PredictionId, Tag

TAG = Tag("sentiment")
SECRET = "c4n4ry of a caller"

Entry = tuple[str, dict[bytes, bytes]]


def request(text: str = SECRET, **fields: Any) -> Request:
    return Request(id=str(PredictionId.new(TAG)), text=text, **fields)


async def accept(log: Log, *requests: Request) -> None:
    for each in requests:
        await log.accept(TAG, [Unit((each,))], backlog_limit=1000)


async def read(redis: Redis, count: int = 100, consumer: str = "w") -> list[Entry]:
    found: Any = await redis.xreadgroup(WORKERS, consumer, {TAG.requests: ">"}, count=count)
    return [(entry_id.decode(), fields) for _, entries in found for entry_id, fields in entries]


def answered(entry: Entry, dead: DeadNote | None = None) -> Settlement:
    entry_id, fields = entry
    asked = Request.from_entry(TAG, entry_id, fields)
    scores = {"negative": 0.1, "positive": 0.9}
    result = Result(
        id=asked.id,
        version="1",
        status="ok",
        label="positive",
        label_id=1,
        confidence=0.9,
        probabilities=scores,
        queue_ms=1,
        worker="w",
    )
    prediction = Prediction(
        id=asked.id,
        model="sentiment",
        version="1",
        label="positive",
        label_id=1,
        confidence=0.9,
        probabilities=scores,
        abstained=False,
        truncated=False,
        timing_ms={"queue": 1, "inference": 1, "total": 2},
    )
    return Settlement(entry_id, asked, result, prediction.encode(), dead)


async def lag(redis: Redis) -> int | None:
    groups: Any = await redis.xinfo_groups(TAG.requests)
    return next(group["lag"] for group in groups if group["name"] == WORKERS.encode())


async def everything(redis: Redis) -> str:
    """All that the server holds, as one text."""
    parts = []
    async for key in redis.scan_iter():
        kind = (await redis.type(key)).decode()
        match kind:
            case "stream":
                value: Any = await redis.xrange(key)
            case "hash":
                value = await redis.hgetall(key)
            case "string":
                value = await redis.get(key)
            case "zset":
                value = await redis.zrange(key, 0, -1)
            case _:
                raise AssertionError(kind)
        parts.append(f"{key} {value}")
    return "\n".join(parts)
