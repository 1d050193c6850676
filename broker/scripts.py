"""The scripts that touch several keys of one tag in one step, and what their errors mean."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from broker.errors import WrongKeyTypeError
from broker.wire import Line

FOLDER = Path(__file__).with_name("lua")
PRELUDE = "prelude.lua"  # its functions stand before every script
WRONG_KEY = "WRONGKEY"


class Script:
    """One Lua file with the prelude before it; it is loaded again by itself where the server has forgotten it."""

    def __init__(self, redis: Redis, file: Path, line: Line | None = None) -> None:
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
            _, marker, rest = str(error).partition(f"{WRONG_KEY} ")
            if not marker:
                raise
            key, _, found = rest.partition(" ")
            raise WrongKeyTypeError(
                f"{key} holds a {found.split()[0]} that Observa did not write; "
                f"look at it, then run: just redis DEL '{key}'"
            ) from error

    async def _evaluate(self, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        if self._line is not None:
            try:
                return await self._line("EVALSHA", self._run.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                pass  # the client loads it
        return await self._run(keys=keys, args=arguments)


class Scripts:
    """The files of ``broker/lua`` by name, over a line of their own: ``await scripts("accept", keys, arguments)``."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._line = Line(redis)
        self._scripts: dict[str, Script] = {}  # those that were called

    async def __call__(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run one script; raises what `Script` raises."""
        if name not in self._scripts:
            self._scripts[name] = Script(self._redis, FOLDER / f"{name}.lua", self._line)
        return await self._scripts[name](keys, arguments)


@cache
def _text(file: Path) -> str:
    return (FOLDER / PRELUDE).read_text() + file.read_text()
