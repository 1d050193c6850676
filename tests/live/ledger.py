"""A client that knows every request it sent and every answer it got, and says what is wrong with the history."""

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from redis import Redis

from broker.events import DeadLetter, Result
from broker.streams import Tag
from tests.live.caller import Caller
from tests.live.strange import positive

RETRY = {502, 503, 504}
PATIENCE_S = 35  # for an answer


@dataclass(frozen=True)
class Sent:
    """One text, when it was sent, and which version must answer it where that is known."""

    text: str
    label: str
    at: float
    version: str | None


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a history, as keys or ids; `buried` and `expired` are ends that are allowed."""

    lost: Sequence[str]
    twice: Sequence[str]
    wrong: Sequence[str]
    phantom: Sequence[str]
    stale: Sequence[str]
    missing: Sequence[str]  # answered, and not in the results
    buried: Sequence[str]
    expired: Sequence[str]

    @property
    def faults(self) -> dict[str, int]:
        """How many of each kind of fault; empty when all is well."""
        kinds = {name: len(getattr(self, name)) for name in ("lost", "twice", "wrong", "phantom", "stale", "missing")}
        return {name: count for name, count in kinds.items() if count}

    def __str__(self) -> str:
        found = {name: list(getattr(self, name))[:3] for name in self.faults}
        return f"{self.faults} {found}, {len(self.buried)} buried, {len(self.expired)} expired"


@dataclass
class Ledger:
    """Sends texts, each under an Idempotency-Key of its own, again and again until it has an answer.

    The text holds what the answer must be, so an answer to somebody else's text is seen.
    """

    gateways: list[str]
    model: str
    seed: int = 0
    good: str = "good"
    bad: str = "bad"
    sent: dict[str, Sent] = field(default_factory=dict)  # by key
    answers: dict[str, dict] = field(default_factory=dict)  # key to the answer
    failed: dict[str, str] = field(default_factory=dict)  # key to the id of a prediction that failed for good
    refusals: Counter[str] = field(default_factory=Counter)  # "no answer", or a status that asks to try again
    waits_s: list[float] = field(default_factory=list)
    others: set[str] = field(default_factory=set)  # ids of what somebody else sent
    version: str | None = None  # what must answer from now on; None: whatever is live
    shards: int = 1

    async def __aenter__(self) -> Self:
        self.random = random.Random(self.seed)
        self._caller = Caller()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._caller.close()

    def write(self, text: str = "") -> str:
        """Note one more text; return its key."""
        good = self.random.random() < 0.5
        key = str(uuid.UUID(int=self.random.getrandbits(128)))
        whole = f"{self.good if good else self.bad} {key} {text}"
        label = "positive" if good else "negative"
        self.sent[key] = Sent(whole, label, asyncio.get_running_loop().time(), self.version)
        return key

    async def send(self, text: str = "", *, give_up_s: float = 60) -> None:
        """Send one text until it is answered."""
        await self.insist(self.write(text), give_up_s=give_up_s)

    async def insist(self, key: str, *, give_up_s: float = 60) -> None:
        """Send the text of *key* until it is answered; again after an answer, the answer must be the same."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        while loop.time() - start < give_up_s and key not in self.failed:
            answer = await self._try(key)
            if answer is not None:
                assert self.answers.setdefault(key, answer) == answer, "a repeated call got another answer"
                self.waits_s.append(loop.time() - start)
                return
            await asyncio.sleep(self.random.uniform(0.05, 0.2))

    async def load(self, count: int, per_second: float, text: str = "", *, give_up_s: float = 60) -> None:
        """Send *count* texts at a constant rate, whether or not earlier ones are answered."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(start + number / per_second - loop.time())
                group.create_task(self.send(text, give_up_s=give_up_s))

    async def load_until(self, done: asyncio.Event, per_second: float, text: str = "") -> None:
        """Send at a constant rate until *done*, then wait for what is open."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as group:
            while not done.is_set():
                group.create_task(self.send(text))
                due += 1 / per_second
                await asyncio.sleep(due - loop.time())

    def wait_s(self, share: float = 0.99) -> float:
        """Return the wait that *share* of the answered texts did not exceed, in seconds, retries included."""
        waits = sorted(self.waits_s)
        return waits[min(len(waits) - 1, int(len(waits) * share))]

    def judge(self, redis: Redis) -> Verdict:
        """Compare every text sent, every answer, and everything on the log."""
        tags = [Tag(self.model, shard) for shard in range(self.shards)]
        results = [Result.from_fields(fields) for tag in tags for _, fields in redis.xrange(tag.results)]
        results = [result for result in results if result.role != "shadow"]
        published = Counter(result.id for result in results)
        dead = {DeadLetter.from_fields(fields).id for tag in tags for _, fields in redis.xrange(tag.dead)}
        expired = {result.id for result in results if result.code == "deadline_exceeded"}
        ids = {key: answer["id"] for key, answer in self.answers.items()}
        ends = {key: ident for key, ident in self.failed.items() if ident in dead or ident in published}
        known = {*ids.values(), *self.failed.values(), *self.others}
        answered = [ident for ident, count in Counter(ids.values()).items() if count > 1]
        return Verdict(
            lost=sorted(self.sent.keys() - ids.keys() - ends.keys()),
            twice=[ident for ident, count in published.items() if count > 1] + answered,
            wrong=[key for key in ids if not self._fits(key)],
            phantom=[ident for ident in published if ident not in known],
            stale=[key for key in ids if self.sent[key].version not in {None, self.answers[key]["version"]}],
            missing=[ident for ident in ids.values() if ident not in published],
            buried=[key for key, ident in ends.items() if ident in dead],
            expired=[key for key, ident in ends.items() if ident in expired],
        )

    def check(self, redis: Redis, *, may_be_buried: int = 0) -> None:
        """Fail unless every text was answered once, with its own answer, or is one of a few that were buried."""
        verdict = self.judge(redis)
        story = f"seed {self.seed}, {len(self.sent)} sent, refusals {dict(self.refusals)}: {verdict}"
        assert not verdict.faults, story
        assert len(verdict.buried) <= may_be_buried, story
        assert not verdict.expired, story

    def _fits(self, key: str) -> bool:
        sent, answer = self.sent[key], self.answers[key]
        if answer["label"] != sent.label:
            return False
        return self.good != "good" or abs(answer["probabilities"]["positive"] - positive(sent.text)) < 2e-6

    async def _try(self, key: str) -> dict | None:
        port = urlsplit(self.random.choice(self.gateways)).port
        text, key_line = json.dumps({"text": self.sent[key].text}), f"Idempotency-Key: {key}\r\n"
        try:
            async with asyncio.timeout(PATIENCE_S):
                reply = await self._caller.ask(port, f"POST /v1/models/{self.model}/predict", text, key_line)
        except (OSError, asyncio.IncompleteReadError):
            self.refusals["no answer"] += 1
            return None
        answer: dict = json.loads(reply.body)
        if reply.status in RETRY:
            self.refusals[str(reply.status)] += 1
            if answer["code"] in {"inference_failed", "deadline_exceeded"}:
                self.failed[key] = answer["id"]
            return None
        assert reply.status == 200, f"{reply.status} {answer}"
        return answer
