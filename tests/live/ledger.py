"""A client that knows every request it sent and every answer it got, and says what is wrong with the history."""

import asyncio
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import httpx
from redis import Redis

from broker.events import Result
from broker.streams import Tag

RETRY = {502, 503, 504}


@dataclass
class Ledger:
    """Sends texts, each under an Idempotency-Key of its own, again and again until it has an answer.

    The text holds what the answer must be, so an answer to somebody else's text is seen.
    """

    gateways: list[str]
    model: str
    seed: int = 0
    sent: dict[str, str] = field(default_factory=dict)  # key to the label that must come
    answers: dict[str, dict] = field(default_factory=dict)  # key to the answer
    refusals: Counter[str] = field(default_factory=Counter)  # "no answer", or a status that asks to try again
    waits_s: list[float] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.random = random.Random(self.seed)
        self.client = httpx.AsyncClient(timeout=35, limits=httpx.Limits(max_connections=200))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def send(self, text: str = "", *, give_up_s: float = 60) -> None:
        """Send one text until it is answered."""
        good = self.random.random() < 0.5
        key = str(uuid.UUID(int=self.random.getrandbits(128)))
        self.sent[key] = "positive" if good else "negative"
        loop = asyncio.get_running_loop()
        start = loop.time()
        while loop.time() - start < give_up_s:
            answer = await self._try(key, f"{'good' if good else 'bad'} {key} {text}")
            if answer is not None:
                self.answers[key] = answer
                self.waits_s.append(loop.time() - start)
                return
            await asyncio.sleep(self.random.uniform(0.05, 0.2))

    async def load(self, count: int, per_second: float, text: str = "") -> None:
        """Send *count* texts at a constant rate, whether or not earlier ones are answered."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self.send(text))
                await asyncio.sleep(1 / per_second)

    def check(self, redis: Redis) -> None:
        """Fail unless every text was answered once, with its own answer."""
        lost = self.sent.keys() - self.answers.keys()
        assert not lost, f"{len(lost)} of {len(self.sent)} were never answered; refusals {dict(self.refusals)}"
        wrong = [key for key, answer in self.answers.items() if answer["label"] != self.sent[key]]
        assert not wrong, f"{len(wrong)} got another text's answer"
        ids = {answer["id"] for answer in self.answers.values()}
        assert len(ids) == len(self.answers), "two texts share an id"
        results = [Result.from_fields(fields) for _, fields in redis.xrange(Tag(self.model).results)]
        published = Counter(result.id for result in results if result.role == "live")
        twice = {ident: count for ident, count in published.items() if count > 1}
        assert not twice, f"{len(twice)} ids were published more than once"
        assert ids <= published.keys(), "an answer is missing from the results"

    async def _try(self, key: str, text: str) -> dict | None:
        url = f"{self.random.choice(self.gateways)}/v1/models/{self.model}/predict"
        try:
            response = await self.client.post(url, json={"text": text}, headers={"Idempotency-Key": key})
        except httpx.HTTPError:
            self.refusals["no answer"] += 1
            return None
        if response.status_code in RETRY:
            self.refusals[str(response.status_code)] += 1
            return None
        assert response.status_code == 200, f"{response.status_code} {response.text}"
        answer: dict = response.json()
        return answer
