"""Weeks of traffic played into a server within seconds: the real scripts, on a clock that the test turns."""

import hashlib
import random
import re
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from redis.asyncio import Redis

from broker import scripts
from broker.budget import Budget
from broker.events import Request, Result
from broker.groups import ensure_groups
from broker.holdings import MINUTE_MS
from broker.janitor import keep_house
from broker.log import Idempotency, Log, Unit
from broker.settings import BrokerSettings
from broker.settlement import Settlement
from broker.streams import MONITOR, SERVED, WORKERS, PredictionId, Tag

CLOCK = "of-the-test:clock"
REFUSES = 0.7  # of maxmemory, as the gateway does
BATCH = 250
TEXT = "a film of no great beauty that one sees gladly all the same, and then forgets"


@dataclass
class Model:
    """What comes for one model."""

    name: str
    per_hour: float
    labelled: float = 0.0  # share of texts that come with their label
    keyed: float = 0.0  # share of calls that come with an Idempotency-Key
    words: int = 1
    owed: float = 0.0  # texts due, of which less than one is left


@dataclass
class World:
    """A small server, its traffic, and what was seen of it."""

    redis: Redis
    settings: BrokerSettings
    models: list[Model]
    now_ms: int = 1_700_000_000_000
    highest: float = 0.0  # of maxmemory
    refused: int = 0
    texts: int = 0
    monitored: bool = True
    _numbers: "count[int]" = field(default_factory=count)
    _random: random.Random = field(default_factory=lambda: random.Random(7))
    _minutes: dict[Tag, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._log = Log(self.redis, self.settings)
        self._budget = Budget(self.redis, self.settings, "janitor")

        async def its_time() -> tuple[int, int]:
            return self.now_ms // 1000, 0

        self.redis.time = its_time  # type: ignore[method-assign, assignment]

    @property
    def tags(self) -> list[Tag]:
        return [Tag(model.name) for model in self.models]

    async def begin(self) -> None:
        for tag in self.tags:
            await ensure_groups(self.redis, tag)
            for stream in (tag.results, tag.feedback) if self.monitored else ():
                await self.redis.xgroup_create(stream, MONITOR, id="0", mkstream=True)
            await self.redis.zadd(SERVED, {tag.model: 1e15})

    async def play(self, hours: float, step_s: float) -> None:
        """Let that time go by; between two rounds of the janitor lie *step_s* seconds of it."""
        end_ms = self.now_ms + hours * 3_600_000
        while self.now_ms < end_ms:
            self.now_ms += int(step_s * 1000)
            await self.redis.set(CLOCK, self.now_ms)
            for model in self.models:
                model.owed += model.per_hour * step_s / 3600
                while model.owed >= 1:
                    size = int(min(BATCH, model.owed))
                    model.owed -= size
                    await self._texts(model, size, step_s)
            await self._clean()
            memory: Any = await self.redis.info("memory")
            ratio = memory["used_memory"] / memory["maxmemory"]
            self.highest = max(self.highest, ratio)
            self.refused += ratio >= REFUSES

    async def _texts(self, model: Model, size: int, step_s: float) -> None:
        tag = Tag(model.name)
        units = [Unit((self._request(tag, model, step_s),), self._key(model)) for _ in range(size)]
        outcomes = await self._log.accept(tag, units, backlog_limit=10_000)
        self.refused += sum(outcome.status != "accepted" for outcome in outcomes)
        self.texts += size
        await self.serve(tag)
        for stream in (tag.results, tag.feedback) if self.monitored else ():
            await self.redis.xgroup_setid(stream, MONITOR, "$")

    async def serve(self, tag: Tag) -> None:
        """Let the workers answer what waits."""
        while found := await self.redis.xreadgroup(WORKERS, "w", {tag.requests: ">"}, count=BATCH):
            done = [_settlement(tag, entry_id.decode(), fields) for entry_id, fields in found[0][1]]
            await self._log.settle(tag, done)

    def _request(self, tag: Tag, model: Model, step_s: float) -> Request:
        at_ms = self.now_ms - int(self._random.random() * min(step_s, 30) * 1000)
        identity = PredictionId.of_entry(tag, f"{at_ms}-{next(self._numbers)}")
        label = "positive" if self._random.random() < model.labelled else None
        self._minutes.setdefault(tag, set()).add(identity.time_ms // MINUTE_MS)
        text = f"{TEXT * model.words} {identity.uuid}"
        return Request(id=str(identity), text=text, version="1", deadline_ms=30_000, true_label=label)

    def _key(self, model: Model) -> Idempotency | None:
        if self._random.random() >= model.keyed:
            return None
        digest = hashlib.sha256(str(next(self._numbers)).encode()).hexdigest()
        return Idempotency(digest, digest)

    async def _clean(self) -> None:
        """Do what the workers do beside serving, and what Redis does when the time of a key is over."""
        for tag in self.tags:
            await keep_house(self.redis, self.settings, tag, "janitor")
        await self._budget.keep()
        for tag, minutes in self._minutes.items():
            for minute in [one for one in minutes if one * MINUTE_MS < self.now_ms - 1020_000]:
                await self.redis.unlink(tag.answers(minute))
                minutes.discard(minute)


def turn_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripts take the time of new entries from the test."""
    real = scripts._text.__wrapped__
    texts = {
        file: re.sub(r"'\*'", f"(redis.call('GET', '{CLOCK}') .. '-*')", real(file))
        for file in scripts.FOLDER.glob("*.lua")
    }
    monkeypatch.setattr(scripts, "_text", lambda file: texts[file])


def _settlement(tag: Tag, entry_id: str, fields: dict[bytes, bytes]) -> Settlement:
    request = Request.from_entry(tag, entry_id, fields)
    result = Result(
        id=request.id, version="1", status="ok", role="live", worker="a-worker-of-the-test", queue_ms=1.5,
        label="positive", label_id=1, confidence=0.9731, probabilities={"negative": 0.0269, "positive": 0.9731},
        inference_ms=3.25, characters=80, words=16, tokens=20,
    )  # fmt: skip
    answer = b'{"id":"%b","model":"%b","version":"1","label":"positive",%b}' % (
        request.id.encode(),
        tag.model.encode(),
        b"x" * 220,
    )
    return Settlement(entry_id, request, result, answer)
