"""What may happen to a request: accepted, settled, judged. Each is one script, so each happens whole or not at all."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Literal, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.answers import PENDING
from broker.events import SCHEMA_VERSION, Request, Result
from broker.scripts import Scripts
from broker.settings import BrokerSettings
from broker.streams import UUID_LENGTH, WORKERS, PredictionId, Tag, time_ms_of

IDEMPOTENCY_S = 24 * 3600
ANSWERS_AT = 6  # position of the first answer among the arguments of the script that settles
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


@dataclass(frozen=True, slots=True)
class DeadNote:
    """Why an entry is given up; its own fields are copied by the script."""

    reason: Literal["malformed", "crashed", "inference_failed"]
    detail: str
    deliveries: int
    worker: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What came of one entry: a result with its answer, a dead letter, or both.

    An entry that cannot be read has neither request nor result, only a dead note. An entry that was answered before
    needs nothing but its id: it is acknowledged.
    """

    entry_id: str
    request: Request | None = None
    result: Result | None = None
    answer: bytes | None = None
    dead: DeadNote | None = None


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
        self._durability = settings.durability

    async def accept(self, tag: Tag, units: Sequence[Unit], *, backlog_limit: int) -> list[Acceptance]:
        """Put *units* on the log of *tag*, one outcome each, in order.

        Repeating a call is safe: an id that is already there is not added again.

        Raises:
            WrongKeyTypeError: a key of ours holds something else; nothing was written.
            NotReplicatedError: no replica has them in time.

        """
        earlier = await self._used_elsewhere(units)
        fresh = [unit for unit, known in zip(units, earlier, strict=True) if known is None]
        outcomes = iter(await self._accept(tag, fresh, backlog_limit) if fresh else ())
        return [known or next(outcomes) for known in earlier]

    async def _accept(self, tag: Tag, units: Sequence[Unit], backlog_limit: int) -> list[Acceptance]:
        keys = _Keys(tag, [tag.requests, tag.backlog])
        rows = [
            {
                "idem": keys.position(tag.idem(unit.idempotency.key)) if unit.idempotency else 0,
                "body": unit.idempotency.body if unit.idempotency else "",
                "entries": [_entry(request, keys) for request in unit.requests],
            }
            for unit in units
        ]
        outcomes = await self._insist(
            "accept", tag, keys.names, [orjson.dumps(rows), backlog_limit, self._answer_s, IDEMPOTENCY_S]
        )
        return [Acceptance(status.decode(), tuple(item.decode() for item in ids)) for status, *ids in outcomes]

    async def _used_elsewhere(self, units: Sequence[Unit]) -> list[Acceptance | None]:
        """Return per unit what became of an earlier call with its key on another shard, or None."""
        found: list[Acceptance | None] = [None] * len(units)
        asked = [(place, unit.idempotency) for place, unit in enumerate(units) if unit.idempotency]
        keys = [(place, used.body, tag.idem(used.key)) for place, used in asked for tag in used.elsewhere]
        if not keys:
            return found
        pipeline = self._redis.pipeline(transaction=False)
        for _, _, key in keys:
            pipeline.get(key)
        for (place, body, _), stored in zip(keys, await pipeline.execute(), strict=True):
            if stored is not None:
                known = orjson.loads(stored)
                status: Literal["replayed", "conflict"] = "replayed" if known["body"] == body else "conflict"
                found[place] = Acceptance(status, tuple(known["ids"]))
        return found

    async def settle(self, tag: Tag, settlements: Sequence[Settlement]) -> list[bool]:
        """Acknowledge entries of *tag* and publish what came of them; true where nobody had published before.

        A replica is waited for, but not insisted on: if the server dies before one has the answers, this call fails,
        and repeated on the next primary it publishes the same answers again.

        Raises:
            WrongKeyTypeError: a key of ours holds something else; nothing was written, all stays pending.

        """
        keys = _Keys(tag, [tag.requests, tag.results, tag.feedback, tag.dead, tag.backlog, tag.joined])
        answers = [settlement.answer for settlement in settlements if settlement.answer]
        position = count(ANSWERS_AT)
        rows = [_settlement(tag, settlement, keys, position) for settlement in settlements]
        arguments = [WORKERS, orjson.dumps(rows), self._answer_s, self._join_s, self._store_text, *answers]
        published, _ = await self._run("settle", tag, keys.names, arguments)
        return [bool(first) for first in published]

    async def answers(self, ids: Sequence[PredictionId]) -> list[bytes | None]:
        """Return per id the answer's JSON, ``b"pending"``, or None where nothing is known."""
        pipeline = self._redis.pipeline(transaction=False)
        for prediction_id in ids:
            pipeline.hget(prediction_id.answers_key, str(prediction_id))
        return cast("list[bytes | None]", await pipeline.execute())

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
            if (answer or PENDING) != PENDING or (row and orjson.loads(row)[0])
        }

    async def feedback(self, prediction_id: PredictionId, label: str) -> FeedbackOutcome:
        """Record the true label of one prediction; a label that comes before the result waits for it.

        Raises:
            WrongKeyTypeError: a key of ours holds something else; nothing was written.
            NotReplicatedError: no replica has it in time.

        """
        tag = prediction_id.tag
        outcome = await self._insist(
            "feedback",
            tag,
            [prediction_id.joins_key, prediction_id.answers_key, tag.feedback, tag.joined],
            [str(prediction_id), prediction_id.uuid, label, self._join_s, _hour(prediction_id)],
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
        keys, prediction = [tag.dead, tag.requests, tag.backlog], found[0][1].get(b"id", b"").decode()
        if prediction:
            keys.append(PredictionId.parse(prediction).answers_key)
        added, _ = await self._run("redrive", tag, keys, [dead_id, prediction, self._answer_s])
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


class _Keys:
    """Key names of one script call, each listed once, named by position (Lua counts from 1)."""

    def __init__(self, tag: Tag, first: list[str]) -> None:
        self.names = first
        self._tag = tag
        self._positions = {name: position for position, name in enumerate(first, 1)}
        self._by_time: dict[tuple[Callable[[Tag, int], str], int], int] = {}

    def position(self, name: str) -> int:
        """Return the position of *name*, adding it where it is new."""
        position = self._positions.get(name)
        if position is None:
            self.names.append(name)
            position = self._positions[name] = len(self.names)
        return position

    def answers(self, time_ms: int) -> int:
        """Return the position of the answer hash for ids made then."""
        return self._of_time(Tag.answers, time_ms // 60_000)

    def joins(self, time_ms: int) -> int:
        """Return the position of the hash of join rows for ids made then."""
        return self._of_time(Tag.joins, time_ms // 1000)

    def _of_time(self, name: Callable[[Tag, int], str], period: int) -> int:
        """Most ids of a call are of one minute and second: their keys are named once."""
        position = self._by_time.get((name, period))
        if position is None:
            position = self._by_time[name, period] = self.position(name(self._tag, period))
        return position


def _entry(request: Request, keys: _Keys) -> dict[str, Any]:
    return {
        "id": request.id,
        "answers": keys.answers(time_ms_of(request.id)),
        "deadline_s": math.ceil(request.deadline_ms / 1000),
        "fields": _flat(request.to_fields()),
    }


def _settlement(tag: Tag, settlement: Settlement, keys: _Keys, answer: Iterator[int]) -> dict[str, Any]:
    request, result = settlement.request, settlement.result
    row: dict[str, Any] = {"entry": settlement.entry_id, "answers": 0, "joins": 0, "replies": 0}
    if request and result and settlement.answer:
        time_ms = time_ms_of(result.id)
        row |= {
            "id": result.id,
            "uuid": result.id[-UUID_LENGTH:],
            "hour": str(time_ms // 3_600_000),
            "answers": keys.answers(time_ms),
            "joins": keys.joins(time_ms),
            "replies": keys.position(tag.replies(request.reply_to)) if request.reply_to else 0,
            "result": _flat(result.to_fields()),
            "answer": next(answer),
        }
        if result.label is not None:
            row["row"] = [result.label, f"{result.confidence:.4f}", result.version, ""]
            if result.tags:
                row["row"].append(orjson.dumps(result.tags).decode())
            if request.true_label is not None:
                row["label"] = request.true_label
    if settlement.dead:
        row["dead"] = _flat(_dead_fields(settlement, settlement.dead))
    return row


def _dead_fields(settlement: Settlement, note: DeadNote) -> dict[str, str]:
    identity = {"id": settlement.request.id} if settlement.request else {}
    return {
        "schema_version": str(SCHEMA_VERSION),
        **identity,
        "entry_id": settlement.entry_id,
        "reason": note.reason,
        "detail": note.detail,
        "deliveries": str(note.deliveries),
        "worker": note.worker,
    }


def _flat(fields: dict[str, str]) -> list[str]:
    return list(chain.from_iterable(fields.items()))


def _hour(prediction_id: PredictionId) -> str:
    return str(prediction_id.time_ms // 3_600_000)
