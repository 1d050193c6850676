"""The scripts that touch several keys of one tag in one step, what their errors mean, and waiting for a replica."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

from broker.errors import WrongKeyTypeError
from broker.wire import Line

FOLDER = Path(__file__).with_name("lua")
PRELUDE = "prelude.lua"  # its functions stand before every script
WRONG_KEY = "WRONGKEY"
REPLICA_MS = 1000  # for a replica to have what was written


class Script:
    """One Lua file with the prelude before it; it is loaded again by itself where the server has forgotten it."""

    def __init__(self, redis: Redis, file: Path, line: Line | None = None) -> None:
        self._redis = redis
        self._run: Any = redis.register_script(_text(file))
        self._line = line

    async def __call__(self, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run it.

        Raises:
            WrongKeyTypeError: one of the keys holds another type; nothing was written.
            redis.exceptions.RedisError: anything else that Redis says.

        """
        try:
            return await self._evaluate(keys, arguments)
        except ResponseError as error:
            if foreign := _foreign_key(error):
                raise foreign from error
            raise

    async def replicated(self, keys: Sequence[str], arguments: Sequence[Any], counter: str) -> tuple[Any, bool]:
        """Run it and wait for a replica; also return whether one has what was written, at most `REPLICA_MS` later.

        WAIT speaks of the last write of its connection, and a call that is repeated may write nothing, while the first
        one is still on its way to the replicas. So *counter*, an integer of the same slot, is written as it is.

        Raises:
            WrongKeyTypeError, redis.exceptions.RedisError: as without waiting.

        """
        for _ in range(2):
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.evalsha(self._run.sha, len(keys), *keys, *arguments)
            pipeline.incrby(counter, 0)
            pipeline.wait(1, REPLICA_MS)
            answer, written, replicas = await pipeline.execute(raise_on_error=False)
            if not isinstance(answer, NoScriptError):
                break
            await self._redis.script_load(self._run.script)
        full = isinstance(written, OutOfMemoryError)  # the script was let through, the counter was not
        for error in (answer, None if full else written, replicas):
            if isinstance(error, ResponseError):
                raise _foreign_key(error) or error
        return answer, replicas > 0 and not full

    async def _evaluate(self, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        if self._line is not None:
            try:
                return await self._line("EVALSHA", self._run.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                pass  # the client loads it
        return await self._run(keys=keys, args=arguments)


class Scripts:
    """The files of ``broker/lua`` by name, over the pool's line: ``await scripts("accept", keys, arguments)``."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._line = Line(redis)
        self._scripts: dict[str, Script] = {}  # those that were called

    async def __call__(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run one script; raises what `Script` raises."""
        return await self.named(name)(keys, arguments)

    def named(self, name: str) -> Script:
        """Return one script."""
        if name not in self._scripts:
            self._scripts[name] = Script(self._redis, FOLDER / f"{name}.lua", self._line)
        return self._scripts[name]


def _foreign_key(error: ResponseError) -> WrongKeyTypeError | None:
    """Return what *error* means where a script found a key that is not ours."""
    _, marker, rest = str(error).partition(f"{WRONG_KEY} ")
    if not marker:
        return None
    key, _, found = rest.partition(" ")
    return WrongKeyTypeError(
        f"{key} holds a {found.split()[0]} that Observa did not write; look at it, then run: just redis DEL '{key}'"
    )


@cache
def _text(file: Path) -> str:
    return (FOLDER / PRELUDE).read_text() + file.read_text()
