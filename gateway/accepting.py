"""Requests on their way on to the log: everything that comes while one call is under way goes with the next."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.backoff import Backoff
from broker.duties import Duties
from broker.errors import WrongKeyTypeError
from broker.groups import ensure_groups
from broker.log import Acceptance, Log, Unit
from broker.streams import Tag
from gateway.metrics import Metrics
from gateway.problems import Problem

MOST_UNITS: Final = 256  # of one script call, so that it does not hold Redis up
PROBE_S: Final = 1.0  # for an answer to a ping while the log is away
PROBE_EVERY_S: Final = 0.25
FULL_S: Final = 0.02  # a full log stays full for so long: a refusal need not ask it each time
AVOIDED_S: Final = 2.0  # a log that could not be written is left alone for so long by whoever may choose another
PASSING = (RedisConnectionError, RedisTimeoutError, OSError)

log = logging.getLogger(__name__)


_Key = tuple[Tag, int, tuple[Tag, ...]]  # a log, its backlog limit, and other logs that are asked first


@dataclass(slots=True)
class _Queue:
    waiting: list[tuple[Unit, asyncio.Future[Acceptance]]] = field(default_factory=list)
    sender: asyncio.Task[None] | None = None


class Accepting:
    """One script call under way per log and backlog limit; the queue behind it is the next call's batch.

    Units that must be looked for on other logs, too, have queues of their own, by which: if one of those is away, only
    they wait for it.
    """

    def __init__(self, redis: Redis, log_: Log, metrics: Metrics, duties: Duties, *, timeout_s: float) -> None:
        self._redis = redis
        self._log = log_
        self._metrics = metrics
        self._duties = duties
        self._timeout_s = timeout_s
        self._queues: dict[_Key, _Queue] = {}
        self._grouped: set[Tag] = set()
        self._full: dict[Tag, tuple[float, int]] = {}  # until when, and at which limit
        self._failed: dict[Tag, float] = {}  # until when it is avoided
        self._probing: asyncio.Task[None] | None = None  # while the log is away nobody else waits for it

    @property
    def away(self) -> bool:
        """Whether the log cannot be reached now: nobody else waits for it."""
        return self._probing is not None

    def is_full(self, tag: Tag, backlog_limit: int) -> bool:
        """Tell whether the log of *tag* has just refused a text at this limit or a higher one."""
        until, limit = self._full.get(tag, (0.0, 0))
        return backlog_limit <= limit and asyncio.get_running_loop().time() < until

    def _note_full(self, tag: Tag, backlog_limit: int) -> None:
        self._full[tag] = (asyncio.get_running_loop().time() + FULL_S, backlog_limit)

    def works(self, tag: Tag) -> bool:
        """Tell whether nothing is known against the log of *tag*."""
        return asyncio.get_running_loop().time() >= self._failed.get(tag, 0.0)

    async def accept(self, tag: Tag, unit: Unit, backlog_limit: int) -> Acceptance:
        """Put *unit* on the log of *tag*.

        Raises:
            Problem: the log cannot be reached in time, or is full.

        """
        if self.away:
            raise Problem("broker_unavailable")
        if unit.idempotency is None and self.is_full(tag, backlog_limit):
            raise Problem("overloaded")  # a repeated call is asked for all the same: its answer may be there
        if backlog_limit <= self._full.get(tag, (0.0, 0))[1]:
            self._note_full(tag, backlog_limit)  # this one asks whether there is room again, for all who come meanwhile
        key = (tag, backlog_limit, unit.idempotency.elsewhere if unit.idempotency else ())
        queue = self._queues.get(key) or self._queues.setdefault(key, _Queue())
        future: asyncio.Future[Acceptance] = asyncio.get_running_loop().create_future()
        queue.waiting.append((unit, future))
        if queue.sender is None:  # it begins in the loop's next turn: all of this turn goes with it
            queue.sender = asyncio.create_task(self._send(key, queue))
        return await future

    async def _send(self, key: _Key, queue: _Queue) -> None:
        try:
            while queue.waiting:
                batch, queue.waiting = queue.waiting[:MOST_UNITS], queue.waiting[MOST_UNITS:]
                batch = [(unit, future) for unit, future in batch if not future.done()]  # the caller went away
                if batch:
                    await self._send_batch(key, batch, queue)
        finally:
            self._queues.pop(key, None)

    async def _send_batch(self, key: _Key, batch: list[tuple[Unit, asyncio.Future[Acceptance]]], queue: _Queue) -> None:
        tag, backlog_limit, _ = key
        try:
            outcomes = await self._accept(key, [unit for unit, _ in batch])
            for (unit, future), outcome in zip(batch, outcomes, strict=True):
                if outcome.status == "overloaded" and len(unit.requests) == 1:
                    self._note_full(tag, backlog_limit)
                elif outcome.status == "accepted":
                    self._full.pop(tag, None)
                if not future.done():
                    future.set_result(outcome)
        except Problem as problem:
            _refuse(batch, problem.code)
            if self._probing:
                _refuse(queue.waiting, problem.code)
        except Exception:  # a bug: whoever waits must be told all the same
            log.exception("requests could not be put on the log")
            _refuse(batch, "internal")

    async def _accept(self, key: _Key, units: list[Unit]) -> list[Acceptance]:
        tag, backlog_limit, elsewhere = key
        try:
            return await self._accept_patiently(tag, units, backlog_limit)
        except WrongKeyTypeError as error:
            log.error("%s", error)  # noqa: TRY400 - the message is written for a person, the traceback is not
        except (RedisError, OSError) as error:  # OSError: also the TimeoutError of all tries together
            log.warning("a request could not be put on the log: %s", type(error).__name__)
            if not elsewhere:  # or it may be another log that is away
                self._failed[tag] = asyncio.get_running_loop().time() + AVOIDED_S
            if "OOM" in str(error) or type(error).__name__ == "OutOfMemoryError":
                raise Problem("overloaded") from error
            if isinstance(error, PASSING) and not self._probing:
                self._probing = self._duties.begin(self._probe())
        self._metrics.broker_failures.labels("accept").inc()
        raise Problem("broker_unavailable")

    async def _accept_patiently(self, tag: Tag, units: list[Unit], backlog_limit: int) -> list[Acceptance]:
        """Try until it works; an id that is already on the log is not added again, so repeating is safe."""
        backoff = Backoff(first_s=0.02, most_s=0.5)
        now = asyncio.get_running_loop().time
        end = now() + self._timeout_s
        while True:
            try:
                async with asyncio.timeout_at(end):
                    if tag not in self._grouped:
                        await ensure_groups(self._redis, tag)
                        self._grouped.add(tag)
                    return await self._log.accept(tag, units, backlog_limit=backlog_limit)
            except PASSING:
                if now() > end:
                    raise
                await backoff.wait()

    async def _probe(self) -> None:
        """Ping until there is an answer: a caller who comes meanwhile is refused at once, not after all tries."""
        while self._probing:
            try:
                async with asyncio.timeout(PROBE_S):
                    await self._redis.ping()
                self._probing = None
            except (RedisError, OSError):
                await asyncio.sleep(PROBE_EVERY_S)


def _refuse(batch: list[tuple[Unit, asyncio.Future[Acceptance]]], code: str) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(Problem(code))
