"""What may happen to a request: accepted, settled, judged. Each is one script, so each happens whole or not at all."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.answers import PENDING, owner_suffix, split_owner
from broker.events import Request
from broker.script_keys import ScriptKeys, flat
from broker.scripts import Scripts
from broker.settings import BrokerSettings
from broker.settlement import Settlement, row_of
from broker.stored import first_call, has_prediction
from broker.streams import IDEM_SLOTS, UUID_LENGTH, WORKERS, PredictionId, Tag, entry_time_ms, time_ms_of

IDEMPOTENCY_S = 24 * 3600
KEY_LENGTH, BODY_LENGTH = 32, 16  # characters kept of the digests: by the first, two callers must never be confused
ANSWERS_AT = 6  # position of the first answer among the arguments of the script that settles
CLOCK_STEP_MS = 3_600_000
PAGE = 500  # dead letters read at once
LATE_S = 60  # an answer outlives its retention by this, so that 404 is never said where 410 is meant

FeedbackOutcome = Literal["accepted", "same", "replaced", "parked", "unknown"]


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's Idempotency-Key and what it stands for, both hashed; and other shards where it may have been used."""

    key: str
    body: str
    elsewhere: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """Requests that are accepted together or not at all: one HTTP call."""

    requests: tuple[Request, ...]
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What became of a unit; ``ids`` are those of the first call where it was ``replayed``."""

    status: Literal["accepted", "replayed", "conflict", "overloaded"]
    ids: tuple[str, ...]


class NotReplicatedError(RedisTimeoutError):
    """It is on the log, but no replica has it yet: it is not safe to say so, and safe to try again."""


class Log:
    """The durable log of all models, as seen by who writes to it.

    With OBSERVA_DURABILITY=replica, what a caller is told was written is on a replica, too.
    """

    def __init__(self, redis: Redis, settings: BrokerSettings) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._answer_s = settings.answer_retention_s + LATE_S
        self._join_s = int(settings.join_retention_h * 3600)
        self._store_text = settings.store_text
        self._requests_bytes = settings.requests_bytes
        self._durability = settings.durability

    async def accept(
        self, tag: Tag, units: Sequence[Unit], *, backlog_limit: int, bytes_limit: float = math.inf
    ) -> list[Acceptance]:
        """Put *units* on the log of *tag*, one outcome each, in order.

        No more entries wait than *backlog_limit*, nor more bytes than *bytes_limit* and OBSERVA_REQUESTS_MAX_MB.
        Repeating a call is safe: an id that is already there is not added again.

        Raises:
            WrongKeyTypeError: a key of ours holds something else; nothing was written.
            NotReplicatedError: no replica has them in time.

        """
        earlier = await self._used_elsewhere(units)
        fresh = [unit for unit, known in zip(units, earlier, strict=True) if known is None]
        bytes_limit = min(bytes_limit, self._requests_bytes)
        outcomes = iter(await self._accept(tag, fresh, backlog_limit, bytes_limit) if fresh else ())
        return [known or next(outcomes) for known in earlier]

    async def _accept(
        self, tag: Tag, units: Sequence[Unit], backlog_limit: int, bytes_limit: float
    ) -> list[Acceptance]:
        keys = ScriptKeys(tag, [tag.requests, tag.backlog, tag.waiting, tag.entry_bytes])
        rows = [_unit(tag, unit, keys) for unit in units]
        limits = [backlog_limit, bytes_limit, self._answer_s, IDEMPOTENCY_S]
        ring = keys.ring() if any(unit.idempotency for unit in units) else 0
        outcomes = await self._insist("accept", tag, keys.names, [orjson.dumps(rows), *limits, ring, IDEM_SLOTS])
        return [Acceptance(status.decode(), tuple(item.decode() for item in ids)) for status, *ids in outcomes]

    async def _used_elsewhere(self, units: Sequence[Unit]) -> list[Acceptance | None]:
        """Return per unit what became of an earlier call with its key on another shard, or None."""
        found: list[Acceptance | None] = [None] * len(units)
        asked = [(place, unit.idempotency) for place, unit in enumerate(units) if unit.idempotency]
        for place, used in asked:
            for tag in used.elsewhere:
                found[place] = found[place] or await self._used_at(tag, used)
        return found

    async def _used_at(self, tag: Tag, used: Idempotency) -> Acceptance | None:
        """Return what became of an earlier call with a key on *tag*."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(tag.idem(used.key))
        for slot in range(IDEM_SLOTS):
            pipeline.hget(tag.idem(slot), used.key[:KEY_LENGTH])
        before, *slots = await pipeline.execute()
        stored = next((one.decode() for one in slots if one is not None), None)
        if stored is not None:
            body, *uuids = stored.split("|")
        elif known := first_call(before):
            body, uuids = known[0][:BODY_LENGTH], [one[-UUID_LENGTH:] for one in known[1]]
        else:
            return None
        status: Literal["replayed", "conflict"] = "replayed" if body == used.body[:BODY_LENGTH] else "conflict"
        return Acceptance(status, tuple(str(PredictionId(tag, uuid)) for uuid in uuids))

    async def settle(self, tag: Tag, settlements: Sequence[Settlement]) -> list[bool]:
        """Acknowledge entries of *tag* and publish what came of them; true where nobody had published before.

        A replica is waited for, but not insisted on: if the server dies before one has the answers, this call fails,
        and repeated on the next primary it publishes the same answers again.

        Raises:
            WrongKeyTypeError: a key of ours holds something else; nothing was written, all stays pending.

        """
        first = [tag.requests, tag.results, tag.feedback, tag.dead, tag.backlog, tag.joined]
        keys = ScriptKeys(tag, [*first, tag.waiting, tag.unanswered])
        answers = [settlement.answer for settlement in settlements if settlement.answer]
        position = count(ANSWERS_AT)
        rows = [row_of(tag, settlement, keys, position) for settlement in settlements]
        arguments = [WORKERS, orjson.dumps(rows), self._answer_s, self._join_s, self._store_text, *answers]
        published, _ = await self._run("settle", tag, keys.names, arguments)
        return [bool(first) for first in published]

    async def answers(self, ids: Sequence[PredictionId]) -> list[bytes | None]:
        """Return per id the answer's JSON, ``b"pending"``, or None where nothing is known."""
        return [answer for answer, _ in await self.records(ids)]

    async def records(self, ids: Sequence[PredictionId]) -> list[tuple[bytes | None, str | None]]:
        """Return per id what `answers` does, and the id of the API key that asked; None where none did."""
        pipeline = self._redis.pipeline(transaction=False)
        for prediction_id in ids:
            pipeline.hget(prediction_id.answers_key, str(prediction_id))
        return [(None, None) if stored is None else split_owner(stored) for stored in await pipeline.execute()]

    async def answered(self, ids: Sequence[PredictionId]) -> set[str]:
        """Return those of *ids* that need no inference: an answer is stored, or a prediction was joined days ago."""
        pipeline = self._redis.pipeline(transaction=False)
        for prediction_id in ids:
            pipeline.hget(prediction_id.answers_key, str(prediction_id))
            pipeline.hget(prediction_id.joins_key, prediction_id.uuid)
        found = await pipeline.execute()
        return {
            str(prediction_id)
            for prediction_id, answer, row in zip(ids, found[::2], found[1::2], strict=True)
            if split_owner(answer or PENDING)[0] != PENDING or has_prediction(row)
        }

    async def buried(self, tag: Tag, entry_ids: Collection[str]) -> set[str]:
        """Return those of *entry_ids*, requests of *tag*, that have a dead letter.

        Read is what was buried since the oldest of them, and an hour before: the server's clock may have been set back.
        """
        found: set[str] = set()
        start = str(max(0, min(map(entry_time_ms, entry_ids)) - CLOCK_STEP_MS))
        while page := cast("Any", await self._redis.xrange(tag.dead, start, count=PAGE)):
            found |= {fields.get(b"entry_id", b"").decode(errors="replace") for _, fields in page}
            start = f"({page[-1][0].decode()}"
        return found.intersection(entry_ids)

    async def feedback(
        self, prediction_id: PredictionId, label: str, asked_by: Collection[str] | None = None
    ) -> FeedbackOutcome:
        """Record the true label of one prediction; a label that comes before the result waits for it.

        A prediction that an API key other than *asked_by* asked for is unknown; None: all may be labelled.

        Raises:
            WrongKeyTypeError: a key of ours holds something else; nothing was written.
            NotReplicatedError: no replica has it in time.

        """
        tag = prediction_id.tag
        keys = ("any",) if asked_by is None else ("these", *asked_by)
        outcome = await self._insist(
            "feedback",
            tag,
            [prediction_id.joins_key, prediction_id.answers_key, tag.feedback, tag.joined],
            [
                str(prediction_id),
                prediction_id.uuid,
                label,
                self._join_s,
                _hour(prediction_id),
                prediction_id.time_ms,
                *keys,
            ],
        )
        return cast("FeedbackOutcome", outcome.decode())

    async def refresh(self, tag: Tag, consumer: str, entry_ids: Sequence[str]) -> int:
        """Keep *entry_ids* from being taken over; return how many of them are still *consumer*'s."""
        return int(await self._scripts("refresh", [tag.requests], [WORKERS, consumer, *entry_ids]))

    async def redrive(self, tag: Tag, dead_id: str) -> str | None:
        """Put a dead letter's entry back on the log with a new deadline; return the new entry's id.

        Returns None where there is no such dead letter, or where it holds nothing that could be sent again.
        """
        found: Any = await self._redis.xrange(tag.dead, dead_id, dead_id)
        if not found:
            return None
        keys = [tag.dead, tag.requests, tag.backlog, tag.waiting]
        if prediction := found[0][1].get(b"id", b"").decode(errors="replace"):
            known = PredictionId.known_by(tag, dead_id, prediction)
            if str(known) != prediction:  # written by hand: there is no answer to reset
                return None
            keys.append(known.answers_key)
        deadline_ms = Request.model_fields["deadline_ms"].default
        arguments = [dead_id, prediction, prediction[-UUID_LENGTH:], self._answer_s, deadline_ms]
        added, _ = await self._run("redrive", tag, keys, arguments)
        return added.decode() if added else None

    async def _insist(self, name: str, tag: Tag, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        answer, replicated = await self._run(name, tag, keys, arguments)
        if not replicated:
            raise NotReplicatedError("no replica has it yet; look at the replicas' links, or set OBSERVA_DURABILITY")
        return answer

    async def _run(self, name: str, tag: Tag, keys: Sequence[str], arguments: Sequence[Any]) -> tuple[Any, bool]:
        """Run a script; return its answer, and whether that is as durable as was asked for."""
        if self._durability == "memory":
            return await self._scripts(name, keys, arguments), True
        return await self._scripts.named(name).replicated(keys, arguments, tag.backlog)


def _unit(tag: Tag, unit: Unit, keys: ScriptKeys) -> dict[str, Any]:
    row: dict[str, Any] = {"idem": "", "entries": [_entry(request, keys) for request in unit.requests]}
    if used := unit.idempotency:
        before = keys.position(tag.idem(used.key))
        row |= {"idem": used.key[:KEY_LENGTH], "body": used.body[:BODY_LENGTH], "before": before}
    return row


def _entry(request: Request, keys: ScriptKeys) -> dict[str, Any]:
    return {
        "id": request.id,
        "answers": keys.answers(time_ms_of(request.id)),
        "pending": PENDING.decode() + owner_suffix(request.key),
        "uuid": request.id[-UUID_LENGTH:],
        "deadline_ms": request.deadline_ms,
        "fields": flat(request.to_fields()),
    }


def _hour(prediction_id: PredictionId) -> str:
    return str(prediction_id.time_ms // 3_600_000)
