"""Which slot of a cluster a command concerns."""

from collections.abc import Sequence
from typing import Any, Final

from redis.crc import key_slot

SLOTS: Final = 16_384

# Their key comes after a sub-command, which redis-py joins to the name; a person writes two words.
_CONTAINERS: Final = frozenset({"XINFO", "XGROUP", "MEMORY", "OBJECT"})
_KEYLESS: Final = frozenset(
    {"ACL", "BGREWRITEAOF", "BGSAVE", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "ECHO", "INFO", "LASTSAVE",
     "LATENCY", "PING", "SCAN", "SCRIPT", "SLOWLOG", "TIME", "WAIT"}
)  # fmt: skip


def slot_of(command: Sequence[Any]) -> int | None:
    """Return the slot of the first key that *command* names; None where it names none."""
    name, *rest = str(command[0]).upper().split()
    if name in _KEYLESS:
        return None
    match name:
        case "EVAL" | "EVALSHA":
            key = command[3] if int(command[2]) else None
        case "XREAD" | "XREADGROUP":
            key = command[next(at for at, word in enumerate(command, 1) if word in {"STREAMS", b"STREAMS"})]
        case _ if name in _CONTAINERS and not rest:
            key = command[2]
        case _:
            key = command[1]
    if key is None:
        return None
    return int(key_slot(key if isinstance(key, bytes) else str(key).encode()))
