"""Requests of a time range once more through one version: no group, no answer and no caller notices."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from redis.asyncio import Redis

from broker.events import Request, Result
from broker.forgetting import ERASED
from broker.ranges import Entry, Past
from broker.scripts import Scripts
from broker.streams import Tag, entry_time_ms
from worker.handler import Arrival, Handler, sort_out
from worker.models import Loaded, Served
from worker.replay_compare import Answers, Comparison
from worker.shadow import FORGIVING_MS

BATCH: Final = 64  # texts inferred together; a model gives each text the same answer whoever shares its batch
SIDE_S: Final = 86_400  # the side stream is there for a day
LATE_MS: Final = 60_000  # an answer comes within its deadline and this
NAME: Final = "replay"  # of the worker, in the results
WITHOUT_CALLER: Final = {"version": None, "pinned": False, "deadline_ms": FORGIVING_MS, "reply_to": None}

Said = Callable[[int, int], None]  # told how many requests are done, and the time of the last, Unix ms


@dataclass(frozen=True, slots=True)
class Range:
    """What to replay."""

    tag: Tag
    first_ms: int  # Unix milliseconds, Redis time of the requests; both included
    last_ms: int
    speed: float | None = None  # times as fast as they came; None: as fast as it goes
    kept: int = 100_000  # results that the side stream holds


@dataclass(slots=True)
class Spent:
    """Where the time went, in CPU seconds of this process."""

    inference_s: float = 0.0
    all_s: float = 0.0
    wall_s: float = 0.0


@dataclass(slots=True)
class Replay:
    """One range of one shard through one version."""

    redis: Redis
    past: Past
    loaded: Loaded
    wanted: Range
    run: str  # names the side stream
    comparison: Comparison
    spent: Spent = field(default_factory=Spent)
    scripts: Scripts = field(init=False)

    def __post_init__(self) -> None:
        """Load the scripts once."""
        self.scripts = Scripts(self.redis)

    @property
    def side_stream(self) -> str:
        """The stream that gets the results."""
        return self.wanted.tag.key(f"replay:{self.run}")

    async def __call__(self, said: Said) -> None:
        """Replay all of it.

        Raises:
            redis.exceptions.RedisError: the log cannot be read, or takes no more.

        """
        began_s, cpu_s = time.monotonic(), time.process_time()
        served = Served(self.wanted.tag.model, self.loaded.manifest.version, {self.comparison.version: self.loaded})
        handler = Handler(served, NAME, _no_time, time.perf_counter)
        answers = Answers(self._pages("results", self.wanted.last_ms + FORGIVING_MS))
        first_ms = 0
        async for batch in _batches(self._pages("requests", self.wanted.last_ms)):
            first_ms = first_ms or entry_time_ms(batch[0][0])
            await self._keep_pace(began_s, entry_time_ms(batch[-1][0]) - first_ms)
            arrivals = self._arrivals(batch)
            thread_s = time.process_time()
            results = await asyncio.to_thread(_inferred, handler, arrivals)
            self.spent.inference_s += time.process_time() - thread_s
            await self._publish(results)
            await self._compare(arrivals, results, answers)
            said(self.comparison.requests, entry_time_ms(batch[-1][0]))
        self.spent.all_s += time.process_time() - cpu_s
        self.spent.wall_s += time.monotonic() - began_s

    def _pages(self, kind: str, last_ms: int) -> AsyncIterator[list[Entry]]:
        return self.past.pages(self.wanted.tag, kind, self.wanted.first_ms, last_ms)

    def _arrivals(self, batch: Sequence[Entry]) -> list[Arrival]:
        entries = [(entry_id, fields) for entry_id, fields in batch if ERASED not in fields]
        found = sort_out(self.wanted.tag, entries, NAME)
        self.comparison.unreadable += len(found.malformed) + len(found.newer)
        return list(found.arrivals)

    async def _publish(self, results: Sequence[Result]) -> None:
        fields = [[part for pair in result.to_fields().items() for part in pair] for result in results]
        await self.scripts("replayed", [self.side_stream], [orjson.dumps(fields), self.wanted.kept, SIDE_S])

    async def _compare(self, arrivals: Sequence[Arrival], results: Sequence[Result], answers: Answers) -> None:
        until = {
            arrival.request.id: entry_time_ms(arrival.entry_id) + arrival.request.deadline_ms + LATE_MS
            for arrival in arrivals
        }
        then = await answers.of(until)
        for result in results:
            self.comparison.add(result, then.get(result.id))
        if arrivals:
            answers.forget_before(entry_time_ms(arrivals[0].entry_id))

    async def _keep_pace(self, began_s: float, after_ms: int) -> None:
        if self.wanted.speed:
            await asyncio.sleep(max(0.0, began_s + after_ms / 1000 / self.wanted.speed - time.monotonic()))


def _inferred(handler: Handler, arrivals: Sequence[Arrival]) -> list[Result]:
    freed = [Arrival(arrival.entry_id, _freed(arrival.request), arrival.deliveries) for arrival in arrivals]
    settlements = handler.handle(freed).settlements
    return [settled.result.model_copy(update={"role": "shadow"}) for settled in settlements if settled.result]


def _no_time() -> float:
    """Stand before all entries: none is late, and none has waited."""
    return 0.0


def _freed(request: Request) -> Request:
    """Take off what was between the caller and the version that answered: who waited, how long, for which version."""
    return request.model_copy(update=WITHOUT_CALLER)


async def _batches(source: AsyncIterator[list[Entry]]) -> AsyncIterator[list[Entry]]:
    async for page in source:
        for start in range(0, len(page), BATCH):
            yield page[start : start + BATCH]
