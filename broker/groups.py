"""The group that answers, and the mark of the log it belongs to."""

import secrets
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from broker.errors import WrongKeyTypeError
from broker.streams import WORKERS, Tag


async def ensure_groups(redis: Redis, tag: Tag) -> str:
    """Create what is missing and return the log's mark of birth.

    The group begins at 0, so entries that were there before it are served, too.

    Raises:
        WrongKeyTypeError: the key of the stream or of the mark holds something else.

    """
    try:
        await redis.xgroup_create(tag.requests, WORKERS, id="0", mkstream=True)
    except OutOfMemoryError:  # a full server says so before it looks
        if WORKERS.encode() not in {group["name"] for group in await groups_of(redis, tag.requests)}:
            raise
    except ResponseError as error:
        if "WRONGTYPE" in str(error):
            raise WrongKeyTypeError(
                f"{tag.requests} is not a stream; look at it, then run: just redis DEL '{tag.requests}'"
            ) from error
        if "BUSYGROUP" not in str(error):
            raise
    born: Any = await redis.get(tag.born)
    if born:
        return str(born.decode())
    await redis.set(tag.born, secrets.token_hex(8), nx=True)
    return await ensure_groups(redis, tag)


async def groups_of(redis: Redis, stream: str) -> list[dict[str, Any]]:
    """Return what XINFO GROUPS says of *stream*; nothing for a stream that does not exist.

    Names of ours are ASCII: a group of another program, whose name is bytes, is left out, and stops no worker.
    """
    try:
        return [group for group in await redis.xinfo_groups(stream) if group["name"].isascii()]
    except ResponseError as error:
        if "no such key" in str(error):
            return []
        raise
