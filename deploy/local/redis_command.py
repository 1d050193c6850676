"""Run one Redis command and show its reply, for who has no redis-cli."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from broker.connection import connect
from broker.errors import ObservaError
from broker.printing import escaped
from deploy.local.settings import StackSettings

_ENTRY_ID = re.compile(rb"\d+-\d+")


def run(settings: StackSettings, words: list[str]) -> None:
    """Send *words* as they are and print the reply.

    Raises:
        ObservaError: the server cannot be reached, or refuses the command.

    """
    try:
        reply = _ask(settings, words) if settings.kind == "server" else asyncio.run(_ask_primary(settings, words))
    except RedisError as error:
        raise ObservaError(escaped(str(error))) from None
    print("\n".join(lines(reply)))


def _ask(settings: StackSettings, words: list[str]) -> Any:
    with Redis.from_url(settings.url_with_password, socket_connect_timeout=5, protocol=3) as client:
        client.response_callbacks.clear()  # what the server says, not what redis-py makes of it
        return client.execute_command(*words)


async def _ask_primary(settings: StackSettings, words: list[str]) -> Any:
    """Ask the primary, in a cluster the one that has the command's key."""
    client: Any = connect(settings, "redis")
    client.response_callbacks.clear()
    try:
        return await client.execute_command(*words)
    finally:
        await client.aclose()


def lines(reply: Any, indent: int = 0) -> Iterator[str]:
    """Yield a reply as readable lines; what is not text, or would steer a terminal, is escaped."""
    match reply:
        case Mapping():
            for key, value in reply.items():
                yield from _pair(key, value, indent)
        case [bytes() as key, list() | tuple() as fields] if len(fields) % 2 == 0 and _ENTRY_ID.fullmatch(key):
            yield "  " * indent + _plain(key)
            for name, value in zip(fields[::2], fields[1::2], strict=True):
                yield from _pair(name, value, indent + 1)
        case list() | tuple() | set() if reply:
            for item in reply:
                yield from lines(item, indent)
        case _:
            for line in _plain(reply).removesuffix("\n").split("\n"):
                yield "  " * indent + line


def _plain(reply: Any) -> str:
    match reply:
        case None:
            return "(nil)"
        case bytes():
            return escaped(reply.decode(errors="backslashreplace"))
        case list() | tuple() | set():
            return "(empty)"
        case _:
            return escaped(str(reply))


def _pair(key: Any, value: Any, indent: int) -> Iterator[str]:
    name = "  " * indent + _plain(key)
    if isinstance(value, Mapping | list | tuple | set):
        yield name
        yield from lines(value, indent + 1)
    else:
        yield f"{name:<24} {_plain(value)}"
