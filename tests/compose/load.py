"""Callers who never stop: each request under an Idempotency-Key of its own, with or without another try."""

import asyncio
import itertools
import threading
import time
import uuid
from collections import Counter
from typing import Self

import httpx

TEXTS = (("a wonderful film, moving and clever", "positive"), ("a terrible film, dull and clumsy", "negative"))
PATIENCE_S = 90


class Load:
    """So many callers of *url* until the block ends; `again`: they repeat what was not answered."""

    def __init__(self, url: str, *, callers: int, again: bool) -> None:
        self.url, self.callers, self.again = url, callers, again
        self.answers: dict[str, dict] = {}  # by key
        self.wanted: dict[str, tuple[str, str]] = {}  # key to text and label
        self.failed: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._texts = itertools.cycle(TEXTS)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._call()))

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._began

    def __str__(self) -> str:
        tries = f", {sum(self.failed.values())} tries failed {dict(self.failed)}" if self.failed else ""
        return (
            f"{len(self.answers)} of {len(self.wanted)} answered in {self.seconds:.0f} s, "
            f"the slowest after {self.slowest_s:.1f} s{tries}"
        )

    def wrong(self) -> list[str]:
        """What no caller may see: no answer, another's answer, one id for two."""
        lost = [f"no answer: {key}" for key in self.wanted if key not in self.answers]
        others = [
            f"{self.wanted[key][0]} is {answer['label']}"
            for key, answer in self.answers.items()
            if answer["label"] != self.wanted[key][1]
        ]
        ids = Counter(answer["id"] for answer in self.answers.values())
        return lost + others + [f"one id twice: {known}" for known, count in ids.items() if count > 1]

    async def _call(self) -> None:
        async with httpx.AsyncClient(timeout=35, limits=httpx.Limits(max_connections=self.callers * 2)) as client:
            await asyncio.gather(*(self._caller(client) for _ in range(self.callers)))

    async def _caller(self, client: httpx.AsyncClient) -> None:
        while not self._ending.is_set():
            key = str(uuid.uuid4())
            self.wanted[key] = next(self._texts)
            began = time.monotonic()
            await self._ask(client, key)
            while self.again and key not in self.answers and time.monotonic() - began < PATIENCE_S:
                await asyncio.sleep(0.3)  # as any caller would, and not a condition that somebody could tell us of
                await self._ask(client, key)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    async def _ask(self, client: httpx.AsyncClient, key: str) -> None:
        try:
            answer = await client.post(self.url, json={"text": self.wanted[key][0]}, headers={"Idempotency-Key": key})
        except httpx.HTTPError as error:
            self.failed[type(error).__name__] += 1
            return
        if answer.status_code == 200:
            self.answers[key] = answer.json()
        else:
            self.failed[str(answer.status_code)] += 1
