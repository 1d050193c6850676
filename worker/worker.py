"""One worker: for every model and shard a reader, a claimer and a refresher, and what all of them share."""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from redis.asyncio import Redis

from broker.connection import Clock, patiently
from broker.duties import Duties
from broker.log import Log
from broker.streams import Tag
from worker.claiming import Claimer
from worker.discovering import Discovery
from worker.following import Follower
from worker.handler import Handler
from worker.housekeeping import Announcer, keep_house_often
from worker.loading import Loading
from worker.models import Served
from worker.reading import Reader
from worker.serving import Means
from worker.settings import WorkerSettings
from worker.shadowing import Shadowing
from worker.speed import Speed
from worker.tracing import serving_with
from worker.trouble import PASSING
from worker.turns import Turns

if TYPE_CHECKING:
    from broker.spans import Spans

FINISH_S: Final = 6  # to finish what is held; the process must be gone after ten
GOODBYE_S: Final = 1
FRESH_S: Final = 5  # a reader that had no answer for longer does not read

logger = logging.getLogger(__name__)


def worker_name() -> str:
    """Return a name that no other process has or had: host, pid, and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Worker:
    """Serves models until it is stopped. Nothing is read before `start`.

    One that *discovers* also serves whatever model comes into the store later.
    """

    def __init__(
        self,
        redis: Redis,
        settings: WorkerSettings,
        speeds: Sequence[tuple[Served, Speed]],
        *,
        discovers: bool = False,
        spans: "Spans | None" = None,
    ) -> None:
        self.name = worker_name()
        self._redis = redis
        self._settings = settings
        self._turns = Turns()
        self._clock = Clock()
        self._stopping = asyncio.Event()
        self.duties = Duties()
        self._to_finish: list[asyncio.Task[None]] = []
        self._means = Means(Log(redis, settings), self._turns, self._clock, settings, self.name)
        self._serving = serving_with(spans)
        self._loading = Loading(settings)
        self._followers: dict[str, Follower] = {}
        self._announcers: dict[str, Announcer] = {}
        self._shadowings: dict[str, Shadowing] = {}
        self._readers: list[Reader] = []
        for served, speed in speeds:
            self._prepare(served, speed)
        self._discovery = Discovery(self._loading, self._followers, self._take) if discovers else None

    async def start(self) -> None:
        """Begin to read and announce.

        Raises:
            BrokerUnavailableError: the server went away since it was checked, and stays away.

        """
        await patiently(partial(self._clock.sync, self._redis), self._settings)
        for name in self._followers:
            self._begin(name)
        if self._discovery:
            self.duties.begin(self._discovery.run())

    async def announce(self, model: str) -> None:
        """Look at the pointer of *model*, if it is served, and say again what is served of it."""
        if announcer := self._announcers.get(model):
            self._followers[model].hurry()
            with suppress(*PASSING):  # it says so itself every few seconds
                await announcer.announce()
        if shadowing := self._shadowings.get(model):
            with suppress(*PASSING):
                await shadowing.look()
        elif self._discovery:
            self._discovery.hurry(model)

    async def stop(self) -> None:
        """Read no more, finish what is held, say goodbye."""
        self._stopping.set()
        with suppress(TimeoutError, *PASSING):
            async with asyncio.timeout(GOODBYE_S):
                for announcer in tuple(self._announcers.values()):
                    await announcer.announce(leaving=True)
        if self._to_finish:
            _, unfinished = await asyncio.wait(self._to_finish, timeout=FINISH_S)
            if unfinished:
                logger.warning("stopped with entries in hand; another worker takes them over")
        await self.duties.stop()
        self._turns.close()
        self._loading.close()

    def silent(self) -> list[str]:
        """Return the streams whose reader had no answer from Redis of late; none when all is well."""
        now = time.monotonic()
        return [
            reader.serving.tag.requests
            for reader in self._readers
            if reader.last_read_at is None or now - reader.last_read_at > FRESH_S
        ]

    def _prepare(self, served: Served, speed: Speed) -> None:
        name = served.name
        tags = [Tag(name, shard) for shard in range(self._settings.shards)]
        servings = [self._serving(tag, self._handler(served), speed, self._means) for tag in tags]
        follower = Follower(served, speed, [serving.handler for serving in servings], self._loading)
        announcer = Announcer(self._redis, follower, self.name, self._clock, self._settings.shards)
        follower.tell = announcer.announce
        load = partial(self._loading.shadow, name)
        self._followers[name], self._announcers[name] = follower, announcer
        self._shadowings[name] = Shadowing(self._redis, name, load, follower.show_shadows, self._means)
        self._readers += [Reader(self._redis, serving, self._stopping) for serving in servings]

    def _begin(self, name: str) -> None:
        begin = self.duties.begin
        for reader in self._readers:
            serving = reader.serving
            if serving.tag.model == name:
                claimer = Claimer(self._redis, serving, self._stopping)
                self._to_finish += [begin(reader.run(), serving.pulse), begin(claimer.run())]
                begin(serving.keep_held())
                begin(keep_house_often(self._redis, self._settings, serving.tag, self.name))
        begin(self._announcers[name].run())
        begin(self._followers[name].run())
        begin(self._shadowings[name].run())

    def _take(self, served: Served, speed: Speed) -> None:
        if not self._stopping.is_set():
            self._prepare(served, speed)
            self._begin(served.name)

    def _handler(self, served: Served) -> Handler:
        return Handler(served, self.name, self._clock.now_ms, time.perf_counter)
