"""Which versions of a model are wanted: the pointer file of the store, mirrored in Redis for whoever has no store."""

from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis

from broker.manifest import Canary, Pointer
from broker.scripts import Scripts
from broker.streams import versions_key

_SHADOW = "shadow:"


async def mirror(redis: Redis, model: str, pointer: Pointer, *, over: bool = False) -> bool:
    """Write *pointer* to Redis, all of it at once; return whether it was newer than what was known, or goes *over*."""
    fields: dict[str, str | float] = {"live": pointer.version}
    if pointer.previous:
        fields["previous"] = pointer.previous
    if pointer.canary:
        fields |= {"canary": pointer.canary.version, "canary_share": pointer.canary.share}
    fields |= {f"{_SHADOW}{version}": share for version, share in pointer.shadows.items()}
    arguments = [part for field in fields.items() for part in field]
    return bool(
        await Scripts(redis)("mirror", [versions_key(model)], [pointer.generation, "over" if over else "", *arguments])
    )


async def mirror_newer(redis: Redis, model: str, pointer: Pointer) -> None:
    """Write *pointer* to Redis where that knows none, an older one, or one that cannot be read.

    What another process writes meanwhile stays if it is newer: only what was found and cannot be read is written over.
    """
    found: Any = await redis.hgetall(versions_key(model))
    known = _pointer_of(found)
    if known is None or known.generation < pointer.generation:
        await mirror(redis, model, pointer, over=bool(found) and known is None)


async def wanted(redis: Redis, model: str) -> Pointer | None:
    """Return what Redis says is wanted of *model*, or None while it says nothing that can be read."""
    found: Any = await redis.hgetall(versions_key(model))
    return _pointer_of(found)


def _pointer_of(found: dict[bytes, bytes]) -> Pointer | None:
    try:
        fields = {name.decode(): value.decode() for name, value in found.items()}
        return Pointer(
            version=fields["live"],
            generation=int(fields.get("generation", "1")),
            previous=fields.get("previous"),
            canary=Canary(version=fields["canary"], share=float(fields["canary_share"]))
            if "canary" in fields
            else None,
            shadows={
                name.removeprefix(_SHADOW): float(share) for name, share in fields.items() if name.startswith(_SHADOW)
            },
        )
    except (KeyError, ValueError, ValidationError):  # written by hand
        return None
