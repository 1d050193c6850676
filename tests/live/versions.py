"""Versions of the small linear model, and a load that knows who asked and which version answered."""

import asyncio
import json
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from broker.manifest import Pointer
from tests.live.services import SHIPPED
from tests.servers import eventually

MODEL = "sentiment-linear"
TEXTS = ("a joy from start to finish", "dull, long and badly acted", "warm and funny", "i want my money back")


def add_version(store: Path, version: str, **changes: object) -> None:
    """Put one more version of the model into *store*: the shipped one but for *changes* of its manifest."""
    folder = store / MODEL / version
    shutil.copytree(SHIPPED / MODEL / "1", folder)
    manifest = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(manifest | {"version": version} | changes))


def make_store(store: Path, *versions: str) -> None:
    """Put *versions* into *store*; the first is live."""
    for version in versions:
        add_version(store, version)
    (store / MODEL / "live.json").write_text(Pointer(version=versions[0], generation=1).model_dump_json())


@dataclass(frozen=True)
class Answered:
    """One request that was answered."""

    id: str
    version: str
    subject: str | None


@dataclass
class Load:
    """Callers at a constant rate; a third has no subject, a third one of few, a third one of its own."""

    gateways: list[str]
    per_second: float
    seed: int = 0
    answered: list[Answered] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    sent: int = 0

    async def run(self, done: asyncio.Event) -> None:
        """Send until *done*, then wait for what is open."""
        self._random = random.Random(self.seed)
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with httpx.AsyncClient(timeout=30) as client, asyncio.TaskGroup() as group:
            while not done.is_set():
                group.create_task(self._ask(client, self.sent))
                self.sent += 1
                due += 1 / self.per_second
                await asyncio.sleep(due - loop.time())

    async def more(self, count: int) -> int:
        """Wait until *count* more were answered; return how many had been before."""
        before = len(self.answered)

        async def came() -> bool:
            return len(self.answered) >= before + count

        await eventually(came, f"{count} more answers", 60)
        return before

    async def until(self, version: str) -> None:
        """Wait until each gateway has got an answer of *version* from somebody new."""
        async with httpx.AsyncClient(timeout=30) as client:
            for url in self.gateways:

                async def stamped(url: str = url) -> bool:
                    return bool((await self._post(client, url, {"text": "a probe"}))["version"] == version)

                await eventually(stamped, f"{url} stamps {version}", 60)

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        subject = (None, f"often-{self._random.randrange(40)}", f"once-{number}")[number % 3]
        text = f"{self._random.choice(TEXTS)} {number}"
        body = {"text": text} | ({"subject": subject} if subject else {})
        await self._post(client, self._random.choice(self.gateways), body)

    async def _post(self, client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await client.post(f"{url}/v1/models/{MODEL}/predict", json=body)
        if response.status_code != 200:
            self.refused.append(f"{response.status_code} {response.text}")
            return {"version": None}
        answer: dict[str, Any] = response.json()
        self.answered.append(Answered(answer["id"], answer["version"], body.get("subject")))
        return answer
