"""Whose data an answer is of: a position in one server's log says nothing of another's, not even of its replica's.

A history is the run of one server process and what it replicates. A restart may lose the end of a log, and a replica
that takes over has another end: either makes another history, and what was read under one is not carried over.
"""

import re
from typing import Any, Final

from redis.asyncio import Redis

ASK: Final = ("INFO", "server", "replication")  # in the same pipeline as what is read; scripts call `history()`

_FOUND = re.compile(rb"\brun_id:(\w+).*\bmaster_replid:(\w+)", re.DOTALL)


def telling_history(redis: Redis) -> Redis:
    """Return a client on the connections of *redis* to which `ASK` gives the history, as scripts know it."""
    client = type(redis)(connection_pool=redis.connection_pool)
    client.set_response_callback("INFO", _history)
    return client


def _history(response: Any, **_: Any) -> str:
    found = _FOUND.search(response)
    return b" ".join(found.groups()).decode() if found else ""
