"""What ``shadow`` and ``canary`` share: a version of the store that is tried beside the live one."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from broker.announcements import Announcement, announcements
from broker.changes import Changed, change
from broker.errors import ObservaError
from broker.manifest import Pointer
from broker.store import Store, store_of
from cli.alerts import now_ms
from cli.settings import CliSettings
from cli.terminal import note

AGAIN_S = 0.2


def share(text: str) -> float:
    """Read a share, as 0.05 or 5%; an argparse type."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share: 0.05 or 5%, above 0 and at most 1")
    return value


async def check_not_live(store: Store, model: str, version: str) -> Pointer:
    """Return the pointer of *model*, made sure that *version* is not live already.

    Raises:
        ObservaError: it is, or the store cannot be read.

    """
    pointer = await asyncio.to_thread(store.pointer, model)
    if version == pointer.version:
        raise ObservaError(f"{model} {version} is live; name a version that is not, see: just models {model}")
    return pointer


async def end_canary(redis: Redis, settings: CliSettings, model: str, version: str | None = None) -> Pointer:
    """Switch the canary off, whichever it is or if it is *version*, and return what is wanted now.

    Raises:
        ObservaError: another version is the canary; nothing was changed.

    """

    def alter(pointer: Pointer) -> Pointer:
        if version and pointer.canary and pointer.canary.version != version:
            raise ObservaError(f"the canary is {pointer.canary.version}, not {version}: just canary {model} --off")
        return pointer.model_copy(update={"canary": None})

    changed = await change(store_of(settings), redis, model, alter)
    say_untold(changed)
    return changed.pointer


async def live_workers(redis: Redis, model: str) -> list[Announcement]:
    """Return what the workers of *model* say that are there now."""
    at_ms = await now_ms(redis)
    return [one for one in await announcements(redis, model) if one.is_live(at_ms)]


async def comes_true(condition: Callable[[], Awaitable[bool]], within_s: float) -> bool:
    """Return whether *condition* came true within that time."""
    end = asyncio.get_running_loop().time() + within_s
    while not await condition():
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(AGAIN_S)
    return True


def say_untold(changed: Changed) -> None:
    """Say where Redis does not know of a change yet."""
    if changed.untold:
        note(f"the store is changed, Redis is not told yet ({changed.untold}); workers look there every few seconds")
