"""Erasing what the log holds of one prediction, or of everything one subject sent."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from redis.asyncio import Redis

from broker.scripts import Scripts
from broker.streams import WORKERS, PredictionId, Tag

PAGE: Final = 500
AGAIN_S: Final = 0.2
FLUSH_S: Final = 10
ERASED: Final = b"erased"  # the only field but the schema's of the mark that stands where the last entry was erased

Found = dict[str, list[str]]  # stream to entry ids


@dataclass(slots=True)
class Forgotten:
    """How much was erased, by kind; and how many entries could not be because somebody still reads them."""

    erased: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)  # stream to entries


async def ids_of_subject(redis: Redis, tags: Iterable[Tag], subject: str) -> set[str]:
    """Return the ids of all that *subject* sent and that requests or dead letters still hold."""
    wanted, found = subject.encode(), set[str]()
    for tag in tags:
        async for entry_id, fields in _entries(redis, tag.requests):
            if fields.get(b"subject") == wanted:
                found.add(_id_of(tag, entry_id, fields))
        async for _, fields in _entries(redis, tag.dead):
            sent = _as_sent(fields)
            if sent.get("subject") == subject:
                found.add(_id_of_letter(tag, fields))
    return found


async def forget(redis: Redis, tags: Iterable[Tag], ids: set[str], *, wait_s: float, now: bool = False) -> Forgotten:
    """Erase all there is of *ids*: requests, results, labels, dead letters, answers, explanations, join rows, keys.

    Entries that a group has not finished are waited for, up to *wait_s* seconds altogether; with *now* they are erased
    all the same, and Redis does not know that group's lag until it has read on.
    """
    forgotten, scripts = Forgotten(), Scripts(redis)
    end = asyncio.get_running_loop().time() + wait_s
    for tag in tags:
        mine = {prediction_id for prediction_id in ids if PredictionId.parse(prediction_id).tag == tag}
        # Requests first: once they are settled and gone, nothing more can be written of them.
        for stream in (tag.requests, tag.results, tag.feedback, tag.dead):
            left = await _find(redis, tag, stream, mine)
            while left:
                left, erased = await _erase(scripts, stream, left, now=now)
                forgotten.erased[stream.rpartition(":")[2]] += erased
                if left and asyncio.get_running_loop().time() > end:
                    forgotten.waiting[stream] += len(left)
                    break
                if left:
                    await redis.set(tag.flush, 1, ex=FLUSH_S)  # an archiver that reads them need not wait for more
                await asyncio.sleep(AGAIN_S if left else 0)
            if forgotten.waiting[tag.requests]:
                break
        await _forget_keys(redis, tag, mine, forgotten)
        await _forget_explanations(redis, tag, mine, forgotten)
    forgotten.waiting += Counter()  # without zeros
    return forgotten


async def _erase(scripts: Scripts, stream: str, entries: Sequence[str], *, now: bool) -> tuple[list[str], int]:
    outcomes = []
    for start in range(0, len(entries), PAGE):
        page = entries[start : start + PAGE]
        outcomes += await scripts("erase", [stream], [WORKERS, "now" if now else "", *page])
    left = [entry for entry, outcome in zip(entries, outcomes, strict=True) if outcome == b"waiting"]
    return left, outcomes.count(b"erased")


async def _find(redis: Redis, tag: Tag, stream: str, ids: set[str]) -> list[str]:
    found = []
    async for entry_id, fields in _entries(redis, stream):
        identity = _id_of_letter(tag, fields) if stream == tag.dead else _id_of(tag, entry_id, fields)
        if identity in ids:
            found.append(entry_id)
    return found


async def _forget_keys(redis: Redis, tag: Tag, ids: set[str], forgotten: Forgotten) -> None:
    for prediction_id in map(PredictionId.parse, ids):
        forgotten.erased["answers"] += int(await redis.hdel(prediction_id.answers_key, str(prediction_id)))
        forgotten.erased["joins"] += int(await redis.hdel(prediction_id.joins_key, prediction_id.uuid))
    async for key in redis.scan_iter(match=tag.idem("*").replace("[", r"\["), count=PAGE):
        stored = await redis.get(key)
        if stored and ids.intersection(orjson.loads(stored)["ids"]):
            forgotten.erased["idempotency keys"] += int(await redis.delete(key))


async def _forget_explanations(redis: Redis, tag: Tag, ids: set[str], forgotten: Forgotten) -> None:
    """Delete explanations, waiting for nobody: of one that is worked on, nothing is written once its key is gone."""
    for prediction_id in ids:
        forgotten.erased["explanations"] += int(await redis.delete(tag.explained(prediction_id)))
    for stream in (tag.explain, tag.explanations):
        found = await _find(redis, tag, stream, ids)
        if found:
            forgotten.erased["explanations"] += int(await redis.xdel(stream, *found))


def _id_of(tag: Tag, entry_id: str, fields: Mapping[bytes, bytes]) -> str:
    written = fields.get(b"id", b"").decode(errors="replace")
    return written or str(PredictionId.of_entry(tag, entry_id))


def _id_of_letter(tag: Tag, fields: Mapping[bytes, bytes]) -> str:
    return _id_of(tag, fields.get(b"entry_id", b"0-0").decode(errors="replace"), fields)


def _as_sent(letter: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the fields that a dead letter holds of its request, or none where they cannot be read."""
    try:
        flat = orjson.loads(letter.get(b"entry", b"[]"))
        return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}
    except (ValueError, TypeError):
        return {}


async def _entries(redis: Redis, stream: str) -> AsyncIterator[tuple[str, dict[bytes, bytes]]]:
    """Walk *stream* from its beginning to where it ends now."""
    newest: Any = await redis.xrevrange(stream, count=1)
    first = "-"
    while newest:
        page: Any = await redis.xrange(stream, first, newest[0][0], PAGE)
        for entry_id, fields in page:
            yield entry_id.decode(), fields
        if len(page) < PAGE:
            return
        first = f"({page[-1][0].decode()}"
