"""The real gateway on a real server, and a worker small enough to see through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.announcements import Announcement, ServedVersion, announce
from broker.answers import Prediction, encode_error
from broker.connection import Clock, connect
from broker.events import Request, Result
from broker.groups import ensure_groups
from broker.log import Log
from broker.settings import BrokerSettings
from broker.settlement import Settlement
from broker.streams import WORKERS, Tag
from gateway.app import GatewayServer, create_app, listen_everywhere, prepare
from gateway.settings import GatewaySettings
from tests.servers import eventually

LABELS = ("negative", "positive")


class EchoWorker:
    """Answers "positive" to every text, or the error code that `errors` names for the text."""

    def __init__(self, settings: BrokerSettings, model: str = "sentiment", versions: tuple[str, ...] = ("1",)) -> None:
        self.tag = Tag(model)
        self.name = f"echo-{model}"
        self.versions = versions
        self.shadows: tuple[str, ...] = ()
        self.texts_per_second = 1000.0
        self.leaving = False
        self.errors: dict[str, str] = {}
        self.holding = asyncio.Event()  # cleared: entries are read and not answered
        self.holding.set()
        self.seen: list[Request] = []
        self.redis = connect(settings, self.name)
        self._log = Log(self.redis, settings)
        self._clock = Clock()

    async def announce(self) -> None:
        await self._clock.sync(self.redis)
        served = ServedVersion(
            labels=LABELS, max_length=128, digest="0" * 64, target_accuracy=0.8, metrics={"accuracy": 0.9}
        )
        announcement = Announcement(
            worker=self.name,
            live=self.versions[0],
            versions=dict.fromkeys(self.versions, served),
            shadows=dict.fromkeys(self.shadows, served),
            texts_per_second=self.texts_per_second,
            seen_ms=int(self._clock.now_ms()),
            leaving=self.leaving,
        )
        await announce(self.redis, self.tag.model, announcement)

    async def run(self) -> None:
        while True:
            try:
                await ensure_groups(self.redis, self.tag)
                await self.announce()
                await self._serve()
            except (RedisError, OSError):
                await asyncio.sleep(0.05)

    async def _serve(self) -> None:
        found: Any = await self.redis.xreadgroup(WORKERS, self.name, {self.tag.requests: ">"}, count=64, block=200)
        for _, entries in found:
            settlements = [self._settle(entry_id.decode(), fields) for entry_id, fields in entries]
            await self.holding.wait()
            await self._settle_all(settlements)

    async def _settle_all(self, settlements: list[Settlement]) -> None:
        while True:  # what was read is answered, even after a restart of Redis
            try:
                await self._log.settle(self.tag, settlements)
            except (RedisError, OSError):
                await asyncio.sleep(0.05)
            else:
                return

    def _settle(self, entry_id: str, fields: Any) -> Settlement:
        request = Request.from_entry(self.tag, entry_id, fields)
        self.seen.append(request)
        code = self.errors.get(request.text)
        version = request.version or self.versions[0]
        if code:
            result = Result(
                id=request.id,
                version=version,
                status="error",
                code=code,
                queue_ms=0,
                worker=self.name,
                key=request.key,
            )
            return Settlement(entry_id, request, result, encode_error(request.id, code))  # type: ignore[arg-type]
        result = Result(
            id=request.id,
            version=version,
            status="ok",
            label="positive",
            label_id=1,
            confidence=0.75,
            probabilities={"negative": 0.25, "positive": 0.75},
            queue_ms=0.5,
            worker=self.name,
            tags=request.tags,
            key=request.key,
        )
        return Settlement(entry_id, request, result, _prediction(request, version).encode())


def _prediction(request: Request, version: str) -> Prediction:
    return Prediction(
        id=request.id,
        model=request.id.split(".", 1)[0],
        version=version,
        label="positive",
        label_id=1,
        confidence=0.75,
        probabilities={"negative": 0.25, "positive": 0.75},
        abstained=False,
        truncated=False,
        timing_ms={"queue": 0.5, "inference": 1.0, "total": 2.0},
    )


@dataclass
class RunningGateway:
    app: FastAPI
    port: int
    client: httpx.AsyncClient
    server: GatewayServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def running_gateway(settings: GatewaySettings) -> AsyncIterator[RunningGateway]:
    """The gateway as `python -m gateway` runs it, on a free port, in this event loop."""
    listeners = listen_everywhere(settings.model_copy(update={"gateway_port": 0}))
    await prepare(settings)
    app = create_app(settings)
    server = GatewayServer(app, settings)
    serving = asyncio.create_task(server.serve(sockets=listeners))
    port = int(listeners[0].getsockname()[1])
    try:
        await eventually(lambda: asyncio.sleep(0, server.started), "the gateway has started")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield RunningGateway(app, port, client, server)
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def running_worker(worker: EchoWorker) -> AsyncIterator[EchoWorker]:
    working = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        while not working.done():
            working.cancel()
            await asyncio.wait({working}, timeout=1)
        await worker.redis.aclose()
        await worker.redis.connection_pool.disconnect()


@asynccontextmanager
async def running_stack(settings: GatewaySettings) -> AsyncIterator[tuple[RunningGateway, EchoWorker]]:
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(running_worker(EchoWorker(settings)))
        await eventually(lambda: worker.redis.exists("observa:served"), "the worker is announced")
        yield await stack.enter_async_context(running_gateway(settings)), worker


async def entries(redis: Redis, tag: Tag) -> int:
    """How many requests are on the log."""
    return int(await redis.xlen(tag.requests))


def tensor(*data: Any, **changes: Any) -> dict[str, Any]:
    """An inference request with one tensor."""
    return {"inputs": [{"name": "text", "shape": [len(data)], "datatype": "BYTES", "data": list(data)} | changes]}
