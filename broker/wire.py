"""A connection for what is asked all the time: the client's own way costs a call six times as much (140 and 22 us).

It is opened by the client's pool, so with its address, user, certificate and name. From then on commands go out as they
come, and answers come back in their order.
"""

import asyncio
from collections import deque
from typing import Any, Final

import hiredis
from redis._parsers import BaseParser
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

PATIENCE_S: Final = 5.0  # for an answer, where the pool names no other


class WiredPool(BlockingConnectionPool):
    """A pool with one wire for all, and one for each reader that blocks; it closes them when it disconnects."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.shared = Wire(self)  # opens itself with its first call
        self._blocking: list[Wire] = []

    def blocking(self) -> "Wire":
        """Return another wire, open until the pool is closed."""
        wire = Wire(self)
        self._blocking.append(wire)
        return wire

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 the client's signature
        """Close every connection."""
        for wire in (self.shared, *self._blocking):
            wire.close()
        await super().disconnect(inuse_connections)


class Line:
    """Asks one server; answers are as Redis gives them. Where the client's pool has no wires, the client is asked.

    All lines of one pool share a connection, so as many may be made as are handy. A call that *blocks* would hold up
    those that come after it: a reader that makes such calls has a connection of its own, for the life of the pool.
    """

    def __init__(self, redis: Redis, *, blocks: bool = False) -> None:
        pool = redis.connection_pool
        if isinstance(pool, WiredPool):
            self._ask: Any = (pool.blocking() if blocks else pool.shared).call
        else:
            plain = type(redis)(connection_pool=pool)
            plain.response_callbacks.clear()
            self._ask = plain.execute_command

    async def __call__(self, *command: Any) -> Any:
        """Run *command* and return its answer.

        Raises:
            redis.exceptions.RedisError: it cannot be sent, is not answered in time, or is refused.

        """
        return await self._ask(*command)


class Wire:
    """One connection that is opened again when it is lost; what was under way is then not answered."""

    def __init__(self, pool: BlockingConnectionPool) -> None:
        self._pool = pool
        self._patience_s: float = pool.connection_kwargs.get("socket_timeout") or PATIENCE_S
        self._opening = asyncio.Lock()
        self._open: _Conversation | None = None

    async def call(self, *command: Any) -> Any:
        """Run *command*; raises what `Line` raises."""
        conversation = self._open
        if conversation is None or conversation.over:
            conversation = await self._begin()
        answer = conversation.ask(command)
        late = asyncio.get_running_loop().call_later(self._patience_s, conversation.end, RedisTimeoutError, "no answer")
        try:
            return await answer
        finally:
            late.cancel()

    def close(self) -> None:
        """Close the connection; another call would open it again."""
        if self._open is not None:
            self._open.end(RedisConnectionError, "the connection was closed")

    async def _begin(self) -> "_Conversation":
        async with self._opening:
            if self._open is None or self._open.over:
                connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
                await connection.connect()  # type: ignore[no-untyped-call]
                self._open = _Conversation(connection)
            return self._open


class _Conversation(asyncio.Protocol):
    """What goes over one connection, from where the client has opened it until it ends."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.over = False
        self._answers = hiredis.Reader(protocolError=InvalidResponse, replyError=BaseParser.parse_error)
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._loop = asyncio.get_running_loop()
        # The client must neither read from the stream nor close it once nobody else refers to it.
        stream: tuple[Any, Any] = connection._reader, connection._writer  # noqa: SLF001 there is no other way to them
        connection._reader = connection._writer = None  # noqa: SLF001
        self._stream, self._transport = stream, stream[1].transport
        self._transport.set_protocol(self)

    def ask(self, command: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Send *command*; the future is its answer."""
        packed = hiredis.pack_command(command)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._asked.append(answer)
        self._transport.write(packed)
        return answer

    def data_received(self, data: bytes) -> None:
        """Answer whoever has asked, in order."""
        try:
            self._answers.feed(data)
            while (answer := self._answers.gets()) is not False:
                asked = self._asked.popleft()
                if asked.done():  # given up
                    continue
                if isinstance(answer, Exception):
                    asked.set_exception(answer)
                else:
                    asked.set_result(answer)
        except (InvalidResponse, IndexError) as error:  # nothing that comes now can be trusted
            self.end(RedisConnectionError, str(error))

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        self.end(RedisConnectionError, str(error or "the server closed the connection"))

    def end(self, kind: type[RedisError], why: str) -> None:
        """Close the connection and tell whoever waits why; an answer that came now would be taken for another's."""
        self.over = True
        self._transport.abort()
        while self._asked:
            asked = self._asked.popleft()
            if not asked.done():
                asked.set_exception(kind(why))
