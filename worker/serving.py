"""One stream of requests: from entries that were read or taken over to settlements that Redis has."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Final, TypeVar

from broker.backoff import Backoff
from broker.connection import Clock
from broker.duties import Pulse
from broker.events import Request
from broker.log import Log
from broker.settings import BrokerSettings
from broker.settlement import Settlement
from broker.streams import PredictionId, Tag, entry_time_ms
from broker.tracing import trace_id_of
from worker.handler import Arrival, Handled, Handler, sort_out
from worker.metrics import BATCH_SIZE, DEAD_LETTERS, INFERENCE_DURATION, QUEUE_WAIT, RESULTS
from worker.speed import Speed
from worker.trouble import PASSING, Trouble
from worker.turns import Turns

T = TypeVar("T")
Entries = Sequence[tuple[str, Mapping[bytes, bytes]]]

LATE_MS: Final = 5000  # older than this on arrival, an entry may have been answered before
# What takes no longer than this stays on the event loop: a thread that holds the interpreter gives it back no sooner.
BRIEF_S: Final = sys.getswitchinterval()
NEWER_KEPT: Final = 10_000  # ids of entries of a newer schema that are remembered

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Means:
    """What the streams of one worker share."""

    log: Log
    turns: Turns
    clock: Clock
    settings: BrokerSettings
    worker: str  # also the consumer's name in every group


class Serving:
    """The requests of one tag, and which of them this worker holds."""

    def __init__(self, tag: Tag, handler: Handler, speed: Speed, means: Means) -> None:
        self.tag = tag
        self.handler = handler
        self.means = means
        self.held: set[str] = set()
        self.newer: set[str] = set()
        self.pulse = Pulse()  # of its reader, which may wait here until Redis takes what it has
        self._answered: set[str] = set()  # versions that did, the former live one included
        self._doubtful_until_ms = 0.0
        self.speed = speed
        # `labels` costs as much as all else that is done for a result; models, versions and labels are few.
        self._batch_size = BATCH_SIZE.labels(tag.model)
        self._queue_wait = QUEUE_WAIT.labels(tag.model)
        self._inference = cache(partial(INFERENCE_DURATION.labels, tag.model))
        self._results = cache(partial(RESULTS.labels, tag.model))
        self._trouble = Trouble("settling", tag.model)

    def doubt(self) -> None:
        """Ask, of everything that is in the log now, whether it was answered: the group may have begun again at 0."""
        self._doubtful_until_ms = self.means.clock.now_ms()

    async def work(self, entries: Entries, deliveries: int = 1) -> list[Settlement]:
        """Hold *entries* and return the end of each; those of a newer schema are left as they are."""
        self.held.update(entry_id for entry_id, _ in entries)
        found = sort_out(self.tag, entries, self.means.worker, deliveries)
        self.leave(found.newer)
        if deliveries > 1:
            for arrival in found.arrivals:
                known_of = self._known_of(arrival.entry_id, arrival.request)
                logger.warning("nobody finished it, so it is tried again", extra=known_of | {"deliveries": deliveries})
        known = await self._answered_before(found.arrivals)
        fresh = [arrival for arrival in found.arrivals if arrival.request.id not in known]
        settlements = [Settlement(a.entry_id) for a in found.arrivals if a.request.id in known]
        settlements += await self._unburied(found.malformed)
        if fresh:
            brief = self.speed.expected_s([arrival.request.text for arrival in fresh]) <= BRIEF_S
            handled = await self.means.turns.run(str(self.tag), partial(self.handler.handle, fresh), brief=brief)
            self._measure(handled)
            settlements += handled.settlements
        return settlements

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Acknowledge and publish; return for each whether nobody had published before.

        As long as Redis does not take it, try again and keep holding.
        """
        if not settlements:
            return []
        published = await self._insist(partial(self.means.log.settle, self.tag, settlements))
        self.held.difference_update(settlement.entry_id for settlement in settlements)
        for settlement, first in zip(settlements, published, strict=True):
            if first:
                self._count(settlement)
        return published

    async def keep_held(self) -> None:
        """Keep what is held from being taken over, for as long as this runs."""
        while True:
            await asyncio.sleep(self.means.settings.claim_ms / 3000)
            if self.held:
                try:
                    await self.means.log.refresh(self.tag, self.means.worker, sorted(self.held))
                except PASSING as error:
                    self._trouble.met(error)

    async def _answered_before(self, arrivals: Iterable[Arrival]) -> set[str]:
        ids = [PredictionId.parse(arrival.request.id) for arrival in arrivals if self._may_be_done(arrival.entry_id)]
        return await self._insist(partial(self.means.log.answered, ids)) if ids else set()

    async def _unburied(self, malformed: Iterable[Settlement]) -> list[Settlement]:
        """Return *malformed*, those that have a dead letter without another: they are only acknowledged."""
        old = [settlement.entry_id for settlement in malformed if self._may_be_done(settlement.entry_id)]
        buried = await self._insist(partial(self.means.log.buried, self.tag, old)) if old else set()
        return [Settlement(one.entry_id) if one.entry_id in buried else one for one in malformed]

    def _may_be_done(self, entry_id: str) -> bool:
        time_ms = entry_time_ms(entry_id)
        return self.means.clock.now_ms() - time_ms > LATE_MS or time_ms <= self._doubtful_until_ms

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff()
        while True:
            try:
                answer = await ask()
            except PASSING as error:
                self.pulse.beat()
                self._trouble.met(error)
                await backoff.wait()
            else:
                self._trouble.over()
                return answer

    def leave(self, newer: Sequence[str]) -> None:
        """Let go of entries that only a newer worker can read; they stay pending."""
        self.held.difference_update(newer)
        if len(self.newer) > NEWER_KEPT:
            self.newer.clear()  # they are looked at once more
        self.newer.update(newer)
        if newer:
            logger.warning(
                "entries of a newer schema are left for a newer worker; update this one",
                extra={"stream": self.tag.requests, "entries": len(newer), "first": newer[0]},
            )

    def _known_of(self, entry_id: str, request: Request | None) -> dict[str, object]:
        """Return what a log may say of a request: not what its caller wrote."""
        known: dict[str, object] = {"model": self.tag.model, "entry_id": entry_id}
        if request:
            known["id"] = request.id
            if trace_id := trace_id_of(request.traceparent):
                known["trace_id"] = trace_id
        return known

    def _measure(self, handled: Handled) -> None:
        for batch in handled.batches:
            self._batch_size.observe(len(batch.entry_ids))
            self._inference(batch.version).observe(batch.seconds)
            for wait_s in batch.waits_s:
                self._queue_wait.observe(wait_s)
            self.speed.learn(len(batch.entry_ids), batch.seconds)

    def _count(self, settlement: Settlement) -> None:
        if result := settlement.result:
            # A version that never answered comes from a request: as a label it would have no end.
            self._answered.add(result.version if result.status == "ok" else self.handler.served.live)
            version = result.version if result.version in self._answered else "unknown"
            self._results(version, result.role, result.label or "", result.status).inc()
        if dead := settlement.dead:
            known_of = self._known_of(settlement.entry_id, settlement.request)
            logger.error("put aside", extra=known_of | {"reason": dead.reason, "deliveries": dead.deliveries})
            DEAD_LETTERS.labels(self.tag.model, dead.reason).inc()
