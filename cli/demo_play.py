"""What the demonstration plays: real texts in acts, at a constant rate that waits for nobody."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from broker.errors import ObservaError
from broker.events import Request
from broker.streams import PredictionId, Tag

TICK_S = 0.2
SEED = 7
OTHER = {"negative": "positive", "positive": "negative"}

Texts = dict[str, list[tuple[str, str]]]  # domain to (text, true label)


@dataclass(frozen=True, slots=True)
class Act:
    """A stretch of traffic; the shares are of its texts, rising evenly from the first value to the second."""

    title: str
    seconds: float
    tweets: tuple[float, float] = (0.0, 0.0)
    wrong: float = 0.0  # share of the labels that say the opposite


ACTS = (
    Act("movie reviews, as the model knows them", 40),
    Act("more and more tweets among them", 30, tweets=(0.0, 1.0)),
    Act("tweets only", 20, tweets=(1.0, 1.0)),
    Act("movie reviews again, but every label is wrong", 80, wrong=1.0),
)


@dataclass(slots=True)
class Played:
    """What has been sent so far."""

    act: Act = ACTS[0]
    sent: int = 0
    began_ms: dict[str, float] = field(default_factory=dict)  # title of an act to Redis time


def read_texts(file: Path) -> Texts:
    """Read the texts that `just demo-drift` has put into *file*.

    Raises:
        ObservaError: they are not there.

    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {domain: [(text, label) for text, label in found[domain]] for domain in ("movies", "tweets")}
    except (OSError, ValueError, KeyError, TypeError):
        raise ObservaError(f"{file} holds no texts for the demonstration; run: just demo-drift") from None


class Player:
    """Sends *rate* texts a second to one model, act after act, whether or not anything answers."""

    def __init__(self, redis: Redis, tag: Tag, texts: Texts, rate: float) -> None:
        self.played = Played()
        self._redis = redis
        self._tag = tag
        self._texts = texts
        self._rate = rate
        self._rng = random.Random(SEED)

    async def play(self, enough: Callable[[Act, float], bool]) -> None:
        """Play to the end; *enough*, given an act and its seconds so far, may end that act early."""
        due, last_s = 0.0, time.monotonic()
        for act in ACTS:
            seconds, micros = await self._redis.time()
            self.played.act, self.played.began_ms[act.title] = act, int(seconds) * 1000 + int(micros) / 1000
            began_s = time.monotonic()
            while (spent_s := time.monotonic() - began_s) < act.seconds and not enough(act, spent_s):
                now_s = time.monotonic()
                # A pause of this process is not made up for: the rate never goes far above what was asked for.
                due += min(now_s - last_s, 5 * TICK_S) * self._rate
                last_s = now_s
                await self._send([self._request(act, spent_s / act.seconds) for _ in range(int(due))])
                self.played.sent += int(due)
                due -= int(due)
                await asyncio.sleep(TICK_S)

    def _request(self, act: Act, progress: float) -> Request:
        first, last = act.tweets
        domain = "tweets" if self._rng.random() < first + (last - first) * progress else "movies"
        text, label = self._rng.choice(self._texts[domain])
        said = OTHER[label] if self._rng.random() < act.wrong else label
        return Request(id=str(PredictionId.new(self._tag)), text=text, true_label=said)

    async def _send(self, requests: list[Request]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for request in requests:
            fields: Any = request.to_fields()
            pipeline.xadd(self._tag.requests, fields)
        await pipeline.execute()
