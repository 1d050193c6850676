"""Changing which versions of a model are wanted: first the store's pointer, then everybody who reads along."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.manifest import Pointer
from broker.store import Store
from broker.streams import CHANGES
from broker.versions import mirror, wanted

CHANGES_KEPT: Final = 1000  # an entry only says that something changed


@dataclass(frozen=True, slots=True)
class Changed:
    """What is wanted from now on, and why Redis does not know it yet, if so: workers look at the store, too."""

    pointer: Pointer
    untold: str = ""


async def change(
    store: Store,
    redis: Redis | None,
    model: str,
    alter: Callable[[Pointer], Pointer],
    *,
    seen: Pointer | None = None,
) -> Changed:
    """Write what *alter* makes of the pointer as it is now, or of the one that was *seen* before; then tell everybody.

    The generation is counted here. Without Redis, or where it does not answer, the store alone is changed.

    Raises:
        PointerMovedError: someone else's change came in between; nothing was written.
        ModelRefusedError, StoreError: the pointer cannot be read or written.
        ValidationError: what *alter* made is no pointer.

    """
    before = await asyncio.to_thread(store.pointer, model) if seen is None else seen
    after = alter(before).model_copy(update={"generation": before.generation})
    if after != before:
        after = Pointer(**(after.model_dump() | {"generation": before.generation + 1}))
        await asyncio.to_thread(store.replace_pointer, model, before, after)
    return Changed(after, await tell(store, redis, model))


async def begin(store: Store, redis: Redis | None, model: str, version: str) -> Changed:
    """Make *version* live of a model that has no pointer yet, and tell everybody.

    Raises:
        PointerMovedError: it has one.
        StoreError: the store cannot be written.

    """
    pointer = Pointer(version=version, generation=1)
    await asyncio.to_thread(store.replace_pointer, model, None, pointer)
    return Changed(pointer, await tell(store, redis, model))


async def tell(store: Store, redis: Redis | None, model: str) -> str:
    """Bring Redis in line with the store and wake whoever reads along; return why that could not be, or nothing.

    Redis gives way even where it knows a higher generation: then an older store was put back.
    """
    if redis is None:
        return "Redis was not asked"
    try:
        pointer = await asyncio.to_thread(store.pointer, model)
        known = await wanted(redis, model)
        if known != pointer:
            await mirror(redis, model, pointer, over=known is None or known.generation >= pointer.generation)
        await redis.xadd(CHANGES, {"model": model}, maxlen=CHANGES_KEPT, approximate=True)
    except (RedisError, OSError) as error:
        return str(error)
    return ""
