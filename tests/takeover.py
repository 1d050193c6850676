"""A primary and a replica that takes over while the primary lives on, and a client that is told of either."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.backoff import NoBackoff

from broker.sentinel import SentinelPool
from tests.servers import RedisServer, eventually


class Pair:
    """A primary and its replica, until it takes over; we are the Sentinel that tells the client under test of one."""

    sentinels = ()

    def __init__(self, old: RedisServer, new: RedisServer) -> None:
        self.old, self.new = (Redis(port=server.port, protocol=2) for server in (old, new))
        self._told = old.port
        options = {"connection_class": SentinelManagedConnection, "protocol": 2, "retry": Retry(NoBackoff(), 0)}
        self.client = Redis.from_pool(SentinelPool("the log", self, **options))

    async def discover_master(self, _: str) -> tuple[str, int]:
        return "127.0.0.1", self._told

    async def follow(self) -> None:
        """Make the new server a replica of the old one, up to date."""
        port = self.old.connection_pool.connection_kwargs["port"]
        await self.new.execute_command("REPLICAOF", "127.0.0.1", port)
        await eventually(self.in_sync, "the replica is up to date")

    async def in_sync(self) -> bool:
        old, new = await self.old.info("replication"), await self.new.info("replication")
        return new["master_link_status"] == "up" and new["master_repl_offset"] == old["master_repl_offset"]

    async def take_over(self) -> None:
        """The replica becomes a primary; the old one does not know of it."""
        await eventually(self.in_sync, "the replica is up to date")
        await self.new.execute_command("REPLICAOF", "NO", "ONE")

    async def give_way(self) -> None:
        """Let the old server hear of it, and become the new one's replica."""
        await self.old.execute_command("REPLICAOF", "127.0.0.1", self.new.connection_pool.connection_kwargs["port"])

    async def point_at(self, server: Redis) -> None:
        """Let the next connections of the client go to *server*, and close those it has."""
        self._told = server.connection_pool.connection_kwargs["port"]
        await self.client.connection_pool.disconnect()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[RedisServer]]:
    made = []
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        made.append(RedisServer(tmp_path / name))
        made[-1].start("--repl-diskless-sync-delay", "0")
    yield made
    for server in made:
        server.kill()


@pytest.fixture
async def pair(servers: list[RedisServer]) -> AsyncIterator[Pair]:
    pair = Pair(*servers)
    await pair.follow()
    yield pair
    for one in (pair.old, pair.new, pair.client):
        await one.aclose()
        await one.connection_pool.disconnect()
