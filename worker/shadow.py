"""One shadow version on one tag: it reads what live versions read, and nobody waits for what it says."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis

from broker.backoff import Backoff
from broker.claims import claim, idle_entries
from broker.connection import BLOCK_MS
from broker.events import Result
from broker.scripts import Scripts
from broker.shadows import Done, finish, is_in_sample, keep_open, open_group
from broker.streams import PredictionId, Tag, shadow_group
from broker.versions import wanted
from worker.handler import Arrival, Handler, sort_out
from worker.metrics import INFERENCE_DURATION, RESULTS
from worker.models import Loaded, Served
from worker.serving import Entries, Means
from worker.trouble import PASSING, Trouble

READ: Final = 64  # entries at once
SLICE_S: Final = 0.008  # of inference at once, as far as can be foretold; live work that comes waits for its end
MOST_DELIVERIES: Final = 2  # a text that takes the process down with a shadow is tried once more, alone, and given up
FORGIVING_MS: Final = 10**12  # nobody waits: a shadow that is hours behind still answers
REMEMBERED: Final = 0.8  # share of the old figure for the time of one text
CLAIM_AFTER: Final = 3  # claim times: a shadow waits longer for its turn than live work does
SAY_S: Final = 60.0


@dataclass
class Pace:
    """How long one text takes, as measured of late."""

    text_s: float = SLICE_S

    @property
    def texts(self) -> int:
        """How many texts fit into one slice."""
        return max(1, min(READ, int(SLICE_S / self.text_s)))

    def learn(self, texts: int, seconds: float) -> None:
        """Take a slice into account."""
        self.text_s = max(1e-6, REMEMBERED * self.text_s + (1 - REMEMBERED) * seconds / texts)


class Shadow:
    """Reads one tag through the group of one version, which all workers share."""

    def __init__(self, redis: Redis, tag: Tag, loaded: Loaded, share: float, means: Means) -> None:
        self.share = share  # of the requests
        self.version = loaded.manifest.version
        self._redis = redis
        self._tag = tag
        self._group = shadow_group(self.version)
        self._means = means
        served = Served(tag.model, self.version, {self.version: loaded})
        self._handler = Handler(served, means.worker, means.clock.now_ms, time.perf_counter)
        self._scripts = Scripts(redis)
        self._pace = Pace()
        self._held: set[str] = set()
        self._said_at = 0.0
        self._trouble = Trouble(f"shadow {self.version}", tag.model)

    def duties(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what is to run until it is cancelled; what is in hand then is taken over by another worker."""
        return self._read_on(), self._keep_held(), self._take_over()

    async def _read_on(self) -> None:
        backoff, ready = Backoff(), False
        while True:
            try:
                ready = ready or await self._begin()
                entries = await self._read() if ready else []
            except PASSING as error:
                ready = False
                self._trouble.met(error)
            else:
                self._trouble.over()
            if ready:
                backoff.reset()
                await self._work(entries)
            else:
                await backoff.wait()

    async def _begin(self) -> bool:
        """Open the group, unless it was removed because this version is no longer wanted."""
        pointer = await wanted(self._redis, self._tag.model)
        if pointer and self.version not in pointer.shadows:
            return False
        await open_group(self._redis, self._tag, self.version)
        return True

    async def _read(self) -> Entries:
        if time.monotonic() - self._said_at > SAY_S:
            await keep_open(self._redis, self._tag, self.version)
            self._said_at = time.monotonic()
        answer: Any = await self._redis.xreadgroup(
            self._group, self._means.worker, {self._tag.requests: ">"}, count=READ, block=BLOCK_MS
        )
        # What was trimmed or erased in the meantime comes without fields.
        return [(entry_id.decode(), fields or {}) for _, entries in answer or () for entry_id, fields in entries]

    async def _work(self, entries: Entries, deliveries: int = 1) -> None:
        self._held.update(entry_id for entry_id, _ in entries)
        chosen = [(entry_id, fields) for entry_id, fields in entries if self._is_mine(entry_id, fields)]
        arrivals = sort_out(self._tag, chosen, self._means.worker, deliveries).arrivals
        passed_by = {entry_id for entry_id, _ in entries} - {arrival.entry_id for arrival in arrivals}
        await self._finish([Done(entry_id) for entry_id in sorted(passed_by)])
        while arrivals:
            now, arrivals = arrivals[: self._pace.texts], arrivals[self._pace.texts :]
            await self._finish(await self._infer(now))

    def _is_mine(self, entry_id: str, fields: Mapping[bytes, bytes]) -> bool:
        identity = fields.get(b"id", b"").decode(errors="replace")
        return is_in_sample(identity or str(PredictionId.of_entry(self._tag, entry_id)), self.share)

    async def _infer(self, arrivals: Sequence[Arrival]) -> list[Done]:
        handled = await self._means.turns.run_behind(partial(self._handler.handle, [_freed(one) for one in arrivals]))
        for batch in handled.batches:
            self._pace.learn(len(batch.entry_ids), batch.seconds)
            INFERENCE_DURATION.labels(self._tag.model, self.version).observe(batch.seconds)
        return [Done(settled.entry_id, _as_shadow(settled.result)) for settled in handled.settlements]

    async def _finish(self, done: Iterable[Done]) -> None:
        ended = list(done)
        if not ended:
            return
        first = await self._insist(ended)
        self._held.difference_update(one.entry_id for one in ended)
        for one, is_first in zip(ended, first, strict=True):
            if is_first and (result := one.result):
                RESULTS.labels(self._tag.model, self.version, result.role, result.label or "", result.status).inc()

    async def _insist(self, done: Sequence[Done]) -> list[bool]:
        """Publish as soon as Redis takes it; none of *done* is the first of its kind where the group is no more."""
        backoff = Backoff()
        while True:
            try:
                return await finish(self._redis, self._tag, self.version, done)
            except PASSING as error:
                if "NOGROUP" in str(error):
                    return [False] * len(done)
                self._trouble.met(error)
                await backoff.wait()

    async def _keep_held(self) -> None:
        """Keep what waits for its turn from being taken over."""
        while True:
            await asyncio.sleep(self._means.settings.claim_ms / 3000)
            if self._held:
                with suppress(*PASSING):
                    names = [self._group, self._means.worker, *sorted(self._held)]
                    await self._scripts("refresh", [self._tag.requests], names)

    async def _take_over(self) -> None:
        """Finish what a worker left that has gone, one entry at a time."""
        settings = self._means.settings
        patient = settings.model_copy(update={"claim_ms": CLAIM_AFTER * settings.claim_ms})
        while True:
            await asyncio.sleep(settings.claim_ms / 1000)
            with suppress(*PASSING):
                for entry_id, _ in await idle_entries(self._redis, self._tag, patient, group=self._group):
                    if entry_id in self._held:
                        continue
                    taken = await claim(
                        self._redis, self._tag, self._means.worker, entry_id, patient, group=self._group
                    )
                    if taken and taken.deliveries >= MOST_DELIVERIES:
                        await self._give_up(entry_id, taken.fields)
                    elif taken:
                        await self._work([(entry_id, taken.fields)], taken.deliveries + 1)

    async def _give_up(self, entry_id: str, fields: Mapping[bytes, bytes]) -> None:
        arrivals = sort_out(self._tag, [(entry_id, fields)], self._means.worker, MOST_DELIVERIES).arrivals
        failed = [self._handler.failed(_freed(arrival), "inference_failed").result for arrival in arrivals]
        await self._finish([Done(entry_id, _as_shadow(failed[0] if failed else None))])


def _freed(arrival: Arrival) -> Arrival:
    """Take off what is between the caller and the live version: who waits, how long, for which version."""
    changes = {"version": None, "pinned": False, "deadline_ms": FORGIVING_MS, "reply_to": None, "true_label": None}
    return Arrival(arrival.entry_id, arrival.request.model_copy(update=changes), arrival.deliveries)


def _as_shadow(result: Result | None) -> Result | None:
    return result and result.model_copy(update={"role": "shadow"})
