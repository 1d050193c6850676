"""From what a caller asks to the answers: admission, acceptance, waiting. Knows nothing of bodies and routes."""

import asyncio
import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from broker.connection import Clock
from broker.events import Request
from broker.log import Acceptance, Idempotency, Unit
from broker.manifest import NAME_PATTERN
from broker.redaction import redacted
from broker.streams import PredictionId, Tag, shard_of, shards_over_time
from gateway.accepting import Accepting
from gateway.fleet import Fleet, ModelView
from gateway.intake import Manner
from gateway.metrics import Metrics
from gateway.problems import Problem
from gateway.replies import Replies
from gateway.settings import GatewaySettings

LEAST_BACKLOG: Final = 256  # entries that may wait however slow the workers are, for callers who do not
LEAST_QUEUE: Final = 16  # the same where callers wait: enough to keep workers busy
BACKLOG_RATIO: Final = 0.5  # of what the workers can serve within the deadline
_NAME: Final = re.compile(NAME_PATTERN)


@dataclass(slots=True, kw_only=True)
class Question:
    """What a caller asks: the same meaning is the same question, whichever route it took."""

    model: str
    version: str | None = None  # pinned by the caller
    texts: tuple[str, ...]
    several: bool
    true_labels: tuple[str | None, ...]
    threshold: float | None = None
    tags: dict[str, str] = field(default_factory=dict)
    subject: str | None = None
    truncate: bool = True

    def digest(self) -> str:
        """Return what an Idempotency-Key stands for."""
        return hashlib.sha256(orjson.dumps(self, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The ids under which answers will be found, and the answers where the caller waited: None is out of time."""

    ids: tuple[str, ...]
    answers: tuple[bytes | None, ...] = ()


class Serving:
    """Takes questions; one per process."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of the gateway meet here
        self,
        settings: GatewaySettings,
        fleet: Fleet,
        accepting: Accepting,
        replies: Replies,
        clock: Clock,
        metrics: Metrics,
        gateway_id: str,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._accepting = accepting
        self._replies = replies
        self._clock = clock
        self._gateway_id = gateway_id
        self._open_texts = 0
        metrics.open_texts.set_function(lambda: self._open_texts)

    @property
    def away(self) -> bool:
        """Whether the log cannot be reached now."""
        return self._accepting.away

    def is_full(self, view: ModelView) -> bool:
        """Tell whether no caller who waits would be let in now, as far as known without asking the log."""
        limit = self._queue_limit(view, self._settings.gateway_max_deadline_ms)
        return all(self._accepting.is_full(Tag(view.name, shard), limit) for shard in range(self._shards(view)))

    async def model(self, name: str) -> ModelView:
        """Return the model called *name*.

        Raises:
            Problem: 404, nobody has ever announced it.

        """
        view = await self._fleet.find(name) if _NAME.match(name) else None
        if view is None:
            raise Problem("model_not_found")
        return view

    async def serve(self, question: Question, manner: Manner, view: ModelView) -> Accepted:
        """Accept *question* and, if the caller waits, wait for its answers until its deadline.

        Cancelling gives up the wait; what was accepted stays on the log.

        Raises:
            Problem: it was not accepted.

        """
        deadline_at = asyncio.get_running_loop().time() + manner.deadline_ms / 1000
        self._admit(question, manner, view)
        tag = self._tag(question, manner, view)
        unit = self._unit(tag, question, manner, view)
        ids = tuple(request.id for request in unit.requests)
        self._open_texts += len(ids)
        try:
            if not manner.waits:
                return Accepted((await self._accept(tag, unit, manner, view)).ids)
            with self._replies.expecting(ids) as futures:
                acceptance = await self._accept(tag, unit, manner, view)
                if acceptance.ids == ids:
                    self._replies.accepted(ids)
                    return Accepted(ids, await _wait(futures, deadline_at))
            with self._replies.expecting(acceptance.ids) as futures:  # the answer to an earlier call
                self._replies.accepted(acceptance.ids, elsewhere=True)
                return Accepted(acceptance.ids, await _wait(futures, deadline_at))
        finally:
            self._open_texts -= len(ids)

    def missing(self, prediction_id: str) -> Problem:
        """Say why nothing is known of an id that was accepted once."""
        age_ms = self._clock.now_ms() - PredictionId.parse(prediction_id).time_ms
        expired = age_ms > self._settings.answer_retention_s * 1000
        return Problem.of_prediction(prediction_id, "expired" if expired else "broker_unavailable")

    def _admit(self, question: Question, manner: Manner, view: ModelView) -> None:
        # Before any worker has ever been seen, a caller who does not wait may already leave a message for it.
        if not self._fleet.serves(view) and (manner.waits or view.seen_ms is not None):
            raise Problem("model_unavailable" if self._fleet.reachable else "broker_unavailable")
        if question.version is not None and question.version not in view.versions:
            raise Problem("version_not_loaded")
        full = self._fleet.memory_ratio >= self._settings.gateway_memory_ratio
        if full or self._open_texts + len(question.texts) > self._settings.gateway_max_open_texts:
            raise Problem("overloaded")

    def _unit(self, tag: Tag, question: Question, manner: Manner, view: ModelView) -> Unit:
        ids = [str(PredictionId.new(tag)) for _ in question.texts]
        shared = question.subject or (ids[0] if manner.one_version else None)
        requests = tuple(
            Request(
                id=prediction_id,
                text=redacted(text, self._settings.redact),
                version=question.version or view.version_for(shared or prediction_id),
                pinned=question.version is not None,
                deadline_ms=manner.deadline_ms,
                reply_to=self._gateway_id if manner.waits else None,
                threshold=question.threshold,
                truncate=question.truncate,
                tags=question.tags,
                subject=question.subject,
                true_label=label,
                traceparent=manner.traceparent,
                key=manner.key,
            )
            for prediction_id, text, label in zip(ids, question.texts, question.true_labels, strict=True)
        )
        key = manner.idempotency_key
        if key is None:
            return Unit(requests)
        places = shards_over_time(key, self._settings.shards)  # an earlier call may have come when there were fewer
        elsewhere = tuple(Tag(tag.model, shard) for shard in places if shard != tag.shard)
        return Unit(requests, Idempotency(hashlib.sha256(key.encode()).hexdigest(), question.digest(), elsewhere))

    def _tag(self, question: Question, manner: Manner, view: ModelView) -> Tag:
        shards = self._shards(view)
        if shards == 1:
            return Tag(question.model)
        tags = [Tag(question.model, shard) for shard in range(shards)]
        if sticky := manner.idempotency_key or question.subject:
            return tags[shard_of(sticky, shards)]
        return random.choice([tag for tag in tags if self._accepting.works(tag)] or tags)

    def _queue_limit(self, view: ModelView, most_ms: float) -> int:
        """Return how many texts may be before a caller's who waits, so that it waits no longer than wanted."""
        if not view.texts_per_second:  # between a worker and the next nobody knows
            return LEAST_BACKLOG
        wait_ms = min(self._settings.gateway_queue_ms, most_ms)
        return max(LEAST_QUEUE, int(self._shard_rate(view) * wait_ms / 1000))

    def _shards(self, view: ModelView) -> int:
        """Return over how many shards requests are spread: one that no worker reads yet would keep callers waiting."""
        return min(self._settings.shards, view.shards)

    def _shard_rate(self, view: ModelView) -> float:
        """Return how many texts a second the workers do of each shard, as each has its queue."""
        return view.texts_per_second / self._shards(view)

    async def _accept(self, tag: Tag, unit: Unit, manner: Manner, view: ModelView) -> Acceptance:
        if manner.waits:
            self._replies.listen(tag)
        most_ms = manner.deadline_ms * BACKLOG_RATIO
        if manner.waits:
            limit = self._queue_limit(view, most_ms) + len(unit.requests) - 1  # by what is before its first
        else:
            limit = max(LEAST_BACKLOG, int(self._shard_rate(view) * most_ms / 1000))
        self._accepting.bytes_limit = self._fleet.bytes_per_log
        acceptance = await self._accepting.accept(tag, unit, limit)
        match acceptance.status:
            case "conflict":
                raise Problem("idempotency_conflict")
            case "overloaded":
                raise Problem("overloaded")
        return acceptance


async def _wait(futures: Sequence[asyncio.Future[bytes | None]], deadline_at: float) -> tuple[bytes | None, ...]:
    """Return what each future is given; one that has nothing by its deadline is given None."""
    timer = asyncio.get_running_loop().call_at(deadline_at, _run_out, futures)  # a tenth of what asyncio.timeout costs
    try:
        return tuple([await future for future in futures])
    finally:
        timer.cancel()


def _run_out(futures: Sequence[asyncio.Future[bytes | None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
