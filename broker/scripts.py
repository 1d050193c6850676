"""The scripts that touch several keys of one tag in one step, and what their errors mean."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from broker.errors import WrongKeyTypeError

FOLDER = Path(__file__).with_name("lua")
PRELUDE = "prelude.lua"  # its functions stand before every script
WRONG_KEY = "WRONGKEY"


class Scripts:
    """The files of ``broker/lua`` as methods: ``await scripts("accept", keys, arguments)``."""

    def __init__(self, redis: Redis) -> None:
        prelude = (FOLDER / PRELUDE).read_text()
        self._scripts = {
            path.stem: redis.register_script(prelude + path.read_text())
            for path in FOLDER.glob("*.lua")
            if path.name != PRELUDE
        }

    async def __call__(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run one script; it is loaded again by itself where the server has forgotten it.

        Raises:
            WrongKeyTypeError: one of the keys holds another type; nothing was written.
            redis.exceptions.RedisError: anything else that Redis says.

        """
        try:
            return await self._scripts[name](keys=keys, args=arguments)
        except ResponseError as error:
            _, marker, rest = str(error).partition(f"{WRONG_KEY} ")
            if not marker:
                raise
            key, _, found = rest.partition(" ")
            raise WrongKeyTypeError(
                f"{key} holds a {found.split()[0]} that Observa did not write; "
                f"look at it, then run: just redis DEL '{key}'"
            ) from error
