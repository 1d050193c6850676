"""Erasing what the log holds of one prediction, or of everything one subject sent."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from redis.asyncio import Redis

from broker.keys import TABLE, Erased, Key, keys_of_models
from broker.scripts import Scripts
from broker.streams import WORKERS, PredictionId, Tag

PAGE: Final = 500
AGAIN_S: Final = 0.2
FLUSH_S: Final = 10
ERASED: Final = b"erased"  # the only field but the schema's of the mark that stands where the last entry was erased
_ENTRY_ID: Final = re.compile(r"[0-9]{1,15}-[0-9]{1,19}")
SAID: Final = {"idem": "idempotency keys", "explain": "explanations", "explained": "explanations"}

# Where a key of the table that has a place for each prediction holds one: the key, and the field if it is a hash.
PLACES: Final[dict[str, Callable[[PredictionId], tuple[str, str | None]]]] = {
    "answers:MINUTE": lambda one: (one.answers_key, str(one)),
    "joins:SECOND": lambda one: (one.joins_key, one.uuid),
    "waiting": lambda one: (one.tag.waiting, one.uuid),
    "explained:ID": lambda one: (one.tag.explained(str(one)), None),
}


@dataclass(slots=True)
class Forgotten:
    """How much was erased, by kind; and how many entries could not be because somebody still reads them."""

    erased: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)  # stream to entries


async def tags_on(redis: Redis) -> set[Tag]:
    """Return every model and shard of which the server holds something, served or not."""
    return {tag async for _, key, tag in keys_of_models(redis) if key.scope == "TAG"}


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
    """Erase what the log holds of *ids*, as the table of keys says.

    Entries that a group has not finished are waited for, up to *wait_s* seconds altogether; with *now* they are erased
    all the same, and Redis does not know that group's lag until it has read on.
    """
    forgotten, scripts = Forgotten(), Scripts(redis)
    end_s = time.monotonic() + wait_s
    for tag in tags:
        if mine := {one for one in map(PredictionId.parse, ids) if one.tag == tag}:
            await _OneTag(redis, scripts, tag, mine, forgotten, now=now).forget(end_s)
    return forgotten


class _OneTag:
    """What is to be forgotten of one model's one shard.

    Of each prediction requests and dead letters go last: they alone say whose it was, so until all the rest of it is
    gone a second run finds it by them.
    """

    def __init__(  # noqa: PLR0913 - what is forgotten, and where that is counted
        self, redis: Redis, scripts: Scripts, tag: Tag, ids: set[PredictionId], forgotten: Forgotten, *, now: bool
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._tag = tag
        self._ids = ids
        self._names = {str(one) for one in ids}
        self._forgotten = forgotten
        self._now = now
        self._read: dict[str, str] = {}  # stream to the last entry that was looked at
        self._found: dict[str, dict[str, str]] = {}  # stream to entries that are to go, each with its prediction's id

    async def forget(self, end_s: float) -> None:
        """Erase until nothing is found any more, or only what is still read at *end_s*."""
        while True:
            began_s = time.monotonic()
            streams = await self._streams()
            found = [await self._look(stream) for stream in streams]
            waiting = await self._erase(streams)
            if not any(found) and not waiting:
                break  # and nothing has come while the last of it was erased
            if waiting and time.monotonic() > end_s:
                self._forgotten.waiting.update(waiting)
                break
            if waiting:
                await self._redis.set(self._tag.flush, 1, ex=FLUSH_S)  # who archives them need not wait for more
                await asyncio.sleep(max(AGAIN_S, time.monotonic() - began_s))
        if not waiting:
            await self._erase_idempotency_keys()

    async def _streams(self) -> dict[str, Key]:
        """Return the streams that may hold something of a prediction, those that may be many included."""
        wanted = {key for key in TABLE if key.erased in {Erased.ENTRIES, Erased.ENTRIES_NOW}}
        found = {self._tag.key(key.name): key for key in wanted if key.is_one}
        return found | {name: key async for name, key, tag in keys_of_models(self._redis, self._tag) if key in wanted}

    async def _look(self, stream: str) -> bool:
        """Find what came to *stream* since the last look; return whether something was there."""
        before = len(self._found.setdefault(stream, {}))
        async for entry_id, fields in _entries(self._redis, stream, after=self._read.get(stream)):
            is_letter = stream == self._tag.dead
            identity = _id_of_letter(self._tag, fields) if is_letter else _id_of(self._tag, entry_id, fields)
            if identity in self._names:
                self._found[stream][entry_id] = identity
            self._read[stream] = entry_id
        return len(self._found[stream]) > before

    async def _erase(self, streams: dict[str, Key]) -> dict[str, int]:
        """Erase what may be erased; return how many entries of which streams may not, yet."""
        last = (self._tag.requests, self._tag.dead)
        waiting: Counter[str] = Counter()
        held = set[str]()  # predictions of which something is still read
        if not self._now:  # more would be written of them
            waiting[self._tag.requests] = await self._erase_from(self._tag.requests, "look", held)
        await self._erase_fields(held)  # so that no label and no explanation can come any more
        for stream, key in streams.items():
            if stream not in last:
                how = "now" if self._now or key.erased == Erased.ENTRIES_NOW else ""
                waiting[stream] = await self._erase_from(stream, how, held)
        for stream in last:
            waiting[stream] += await self._erase_from(stream, "now" if self._now else "", held)
        return {stream: count for stream, count in waiting.items() if count}

    async def _erase_from(self, stream: str, how: str, held: set[str]) -> int:
        """Erase what was found in *stream* of predictions that are not *held*, or only "look".

        Return how many entries are still read; their predictions are held from now on.
        """
        outcomes, entries = list[bytes](), [entry for entry, one in self._found[stream].items() if one not in held]
        keys = [stream, self._tag.backlog] if stream == self._tag.requests else [stream]
        for start in range(0, len(entries), PAGE):
            page = entries[start : start + PAGE]
            outcomes += await self._scripts("erase", keys, [WORKERS, how, *page])
        waiting = {entry for entry, outcome in zip(entries, outcomes, strict=True) if outcome == b"waiting"}
        held.update(self._found[stream][entry] for entry in waiting)
        if how != "look":
            for entry in set(entries) - waiting:
                del self._found[stream][entry]
            self._count(stream, outcomes.count(b"erased"))
        return len(waiting)

    async def _erase_fields(self, held: set[str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        places = [place(one) for one in self._ids if str(one) not in held for place in PLACES.values()]
        for key, name in places:
            pipeline.hdel(key, name) if name else pipeline.delete(key)
        for (key, _), erased in zip(places, await pipeline.execute(), strict=True):
            self._count(key, erased)

    async def _erase_idempotency_keys(self) -> None:
        uuids = {one.uuid for one in self._ids}
        async for name, key, _ in keys_of_models(self._redis, self._tag):
            if key.erased != Erased.NAMED:
                continue
            if await self._redis.type(name) == b"string":  # of an older Observa
                before: Any = await self._redis.get(name) or b""
                if not self._names.isdisjoint(before.decode(errors="replace").split('"')):
                    self._count(name, await self._redis.delete(name))
                continue
            used: Any
            stored: Any
            async for used, stored in self._redis.hscan_iter(name, count=PAGE):
                if not uuids.isdisjoint(stored.decode(errors="replace").split("|")):
                    self._count(name, await self._redis.hdel(name, used))

    def _count(self, key: str, erased: int) -> None:
        if erased:
            kind = key.removeprefix(self._tag.key("")).partition(":")[0]
            self._forgotten.erased[SAID.get(kind, kind)] += erased


def _id_of(tag: Tag, entry_id: str, fields: Mapping[bytes, bytes]) -> str:
    return str(PredictionId.known_by(tag, entry_id, fields.get(b"id", b"").decode(errors="replace")))


def _id_of_letter(tag: Tag, fields: Mapping[bytes, bytes]) -> str:
    entry_id = fields.get(b"entry_id", b"").decode(errors="replace")
    return _id_of(tag, entry_id if _ENTRY_ID.fullmatch(entry_id) else "0-0", fields)


def _as_sent(letter: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the fields that a dead letter holds of its request, or none where they cannot be read."""
    try:
        flat = orjson.loads(letter.get(b"entry", b"[]"))
        return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}
    except (ValueError, TypeError, KeyError):
        return {}


async def _entries(
    redis: Redis, stream: str, *, after: str | None = None
) -> AsyncIterator[tuple[str, dict[bytes, bytes]]]:
    """Walk *stream* from its beginning, or from *after* an entry, to where it ends now."""
    newest: Any = await redis.xrevrange(stream, count=1)
    first = f"({after}" if after else "-"
    while newest:
        page: Any = await redis.xrange(stream, first, newest[0][0], PAGE)
        for entry_id, fields in page:
            yield entry_id.decode(), fields
        if len(page) < PAGE:
            return
        first = f"({page[-1][0].decode()}"
