"""A client of a Redis Cluster that is used like one of a single server. docs/decisions has why it is not redis-py's.

Each command goes to the primary that owns the slot of its key. Nothing is sent twice by itself: only a command that a
server refused to run, since the slot is another's, goes on to that other. Whatever a fail-over looks like from here is
raised as a connection error, and the next command asks again who owns what.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.slots import SLOTS, slot_of

Address = tuple[str, int]

REDIRECTIONS: Final = 5  # of one command
ASK_S: Final = 1.0  # for one server's answer to who owns what; the next one is asked then
AGAIN_S: Final = 0.1  # between two such questions
PASSING: Final = (ClusterDownError, TryAgainError)  # what a fail-over and a slot that is moving look like


class ClusterPool(ConnectionPool):
    """Who owns which slot, and a bounded pool of connections to each primary that was asked for."""

    def __init__(self, seeds: Iterable[Address], options: Mapping[str, Any]) -> None:
        super().__init__(**options)
        self._options = dict(options)
        self._seeds = list(seeds)
        self._owners: list[Address | None] = [None] * SLOTS
        self._pools: dict[Address, ConnectionPool] = {}
        self._doubted: set[Address] = set()
        self._asked_s = self._learned_s = 0.0  # time.monotonic()
        self._asking = asyncio.Lock()

    def doubt(self, address: Address) -> None:
        """Ask again who owns what before the next command to this server; the others are left in peace."""
        self._doubted.add(address)

    def move(self, slot: int, teller: Address, owner: Address) -> None:
        """Take the word of *teller* for who owns *slot*, and ask about its other slots."""
        self._owners[slot] = owner
        self.doubt(teller)

    def of(self, address: Address) -> ConnectionPool:
        """Return the pool of one server."""
        if address not in self._pools:
            host, port = address
            self._pools[address] = BlockingConnectionPool(**self._options | {"host": host, "port": port})
        return self._pools[address]

    async def owner(self, slot: int) -> Address:
        """Return the primary that owns *slot*.

        Raises:
            redis.exceptions.ConnectionError: nobody is known to.

        """
        address = self._owners[slot]
        if address is None or address in self._doubted:
            await self._ask_somebody()
            address = self._owners[slot]
        if address is None:
            raise RedisConnectionError(f"no server of the cluster serves slot {slot}")
        return address

    async def primaries(self) -> list[Address]:
        """Return every primary that owns slots, asked anew."""
        await self._ask_somebody()
        return sorted({address for address in self._owners if address})

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 as in redis-py
        """Close the connections to all servers."""
        for pool in tuple(self._pools.values()):
            await pool.disconnect(inuse_connections)

    async def _ask_somebody(self) -> None:
        """Bring what is known up to date; while nobody answers, what was known holds."""
        came_s = time.monotonic()
        async with self._asking:
            if self._learned_s > came_s:  # somebody else did, meanwhile
                return
            await asyncio.sleep(self._asked_s + AGAIN_S - time.monotonic())
            self._asked_s = time.monotonic()
            known = sorted({address for address in self._owners if address})
            random.shuffle(known)
            error: Exception = RedisConnectionError("no server of the cluster is known")
            for address in dict.fromkeys([*known, *self._seeds]):
                try:
                    async with asyncio.timeout(ASK_S):
                        server: Any = Redis(connection_pool=self.of(address))
                        found = await server.execute_command("CLUSTER SLOTS")
                except (RedisError, OSError) as failure:
                    error = failure
                    continue
                self._learn(found, address)
                return
            if not known:
                raise error if isinstance(error, RedisError) else RedisTimeoutError("no server of the cluster answers")

    def _learn(self, found: Sequence[Any], teller: Address) -> None:
        owners: list[Address | None] = [None] * SLOTS
        for first, last, (host, port, *_), *_ in found:
            owners[first : last + 1] = [(host.decode() if host else teller[0], port)] * (last - first + 1)
        self._owners, self._learned_s = owners, time.monotonic()
        self._doubted.clear()


class ClusterRedis(Redis):
    """A client of every primary at once.

    A command without a key goes to the owner of slot 0, PING to any, SCRIPT LOAD and SCAN to all. A pipeline may hold
    commands of several slots, a transaction of one; a command without a key in it goes where the one before it went.
    """

    connection_pool: ClusterPool

    def __init__(self, connection_pool: ClusterPool) -> None:
        super().__init__(connection_pool=connection_pool)
        self._servers: dict[Address, Redis] = {}

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command to whom it concerns."""
        if args[0] == "SCRIPT LOAD":
            return await self._everywhere(*args, **options)
        slot = slot_of(args)
        if slot is None:
            slot = random.randrange(SLOTS) if args[0] == "PING" else 0

        async def send(server: Any, *, asking: bool) -> Any:
            if not asking:
                return await server.execute_command(*args, **options)
            pipeline = server.pipeline(transaction=False)
            pipeline.execute_command("ASKING")
            pipeline.execute_command(*args, **options)
            return (await pipeline.execute())[1]

        return await self.follow(slot, send)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "ClusterPipeline":  # noqa: ARG002, FBT001, FBT002 as in redis-py
        """Return a pipeline whose commands find their servers when it is executed."""
        return ClusterPipeline(self, transaction)

    async def scan_iter(  # type: ignore[override]  # redis-py's own base classes contradict each other
        self, match: Any = None, count: int | None = None, _type: str | None = None, **options: Any
    ) -> AsyncIterator[Any]:
        """Walk the keys of every primary, one after the other."""
        for server in await self.primaries():
            async for key in server.scan_iter(match, count, _type, **options):
                yield key

    async def primaries(self) -> list[Redis]:
        """Return a client of each primary."""
        return [self._at(address) for address in await self.connection_pool.primaries()]

    async def primary_of(self, key: str) -> Redis:
        """Return a client of the primary that owns the slot of *key*."""
        return self._at(await self.connection_pool.owner(slot_of(("GET", key)) or 0))

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: ARG002, FBT001
        """Close every connection."""
        await self.connection_pool.disconnect()

    async def follow(self, slot: int, send: Callable[..., Awaitable[Any]]) -> Any:
        """Return what the owner of *slot* says to what *send* sends it, as *send* (server, asking)."""
        pool = self.connection_pool
        address, asking = await pool.owner(slot), False
        for _ in range(REDIRECTIONS):
            try:
                return await send(self._at(address), asking=asking)
            except MovedError as error:
                teller, address, asking = address, (error.host or address[0], error.port), False
                pool.move(error.slot_id, teller, address)
            except AskError as error:
                address, asking = (error.host or address[0], error.port), True
            except PASSING as error:
                pool.doubt(address)
                raise RedisConnectionError(str(error)) from error
            except (RedisConnectionError, RedisTimeoutError, OSError, asyncio.CancelledError):
                pool.doubt(address)  # who gave up waiting may have waited for a server that stands still
                raise
        raise RedisConnectionError(f"the servers of the cluster do not agree on who serves slot {slot}")

    def _at(self, address: Address) -> Redis:
        if address not in self._servers:
            self._servers[address] = Redis(connection_pool=self.connection_pool.of(address))
            self._servers[address].response_callbacks = self.response_callbacks
        return self._servers[address]

    async def _everywhere(self, *args: Any, **options: Any) -> Any:
        """Send to every primary and return one's answer; a failure is raised if all fail."""
        servers: list[Any] = await self.primaries()
        sent = [server.execute_command(*args, **options) for server in servers]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        answer = next((one for one in answers if not isinstance(one, BaseException)), answers[0])
        if isinstance(answer, BaseException):
            raise answer
        return answer


class ClusterPipeline(Pipeline):
    """Commands that are sent together to each server that some of them concern."""

    def __init__(self, cluster: ClusterRedis, transaction: bool) -> None:  # noqa: FBT001
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 as in redis-py
        """Send what was gathered; return the answers in its order."""
        stack, self.command_stack = self.command_stack, []
        places: dict[int, list[int]] = {}  # by slot
        last = 0
        for place, (args, _) in enumerate(stack):
            slot = slot_of(args)
            last = last if slot is None else slot
            places.setdefault(last, []).append(place)
        if self.is_transaction and len(places) > 1:
            raise RedisError("the keys of a transaction must be of one slot")
        sent = [self._of_one_slot(slot, [stack[place] for place in mine]) for slot, mine in places.items()]
        answers: list[Any] = [None] * len(stack)
        for mine, found in zip(places.values(), await asyncio.gather(*sent), strict=True):
            for place, answer in zip(mine, found, strict=True):
                answers[place] = answer
        if raise_on_error:
            self.raise_first_error(stack, answers)
        return answers

    async def _of_one_slot(self, slot: int, commands: list[Any]) -> list[Any]:
        """Send *commands*; from the first one on that is another server's, send them there."""
        done: list[Any] = []

        async def send(server: Redis, *, asking: bool) -> None:
            pipeline = server.pipeline(transaction=self.is_transaction)
            if asking and self.is_transaction:
                raise RedisConnectionError("the slot is moving to another server")
            for args, options in commands[len(done) :]:
                if asking:
                    pipeline.execute_command("ASKING")
                pipeline.execute_command(*args, **options)
            answers = await pipeline.execute(raise_on_error=False)
            for answer in answers[asking :: 1 + asking]:
                if isinstance(answer, (AskError, *PASSING)):
                    raise answer
                done.append(answer)

        await self._cluster.follow(slot, send)
        return done


async def primaries(redis: Redis) -> list[Redis]:
    """Return a client of each server that takes writes: of the one, or of all in a cluster."""
    return await redis.primaries() if isinstance(redis, ClusterRedis) else [redis]


async def primary_of(redis: Redis, key: str) -> Redis:
    """Return a client of the server that has *key*: of the one, or of its primary in a cluster."""
    return await redis.primary_of(key) if isinstance(redis, ClusterRedis) else redis
