"""A proxy through which a service starts, and which at one step of that start begins to fail as a server does."""

import asyncio
from dataclasses import dataclass

from tests.faults.proxy import CHUNK, Proxy

READS = frozenset(
    [
        "AUTH",
        "CLIENT",
        "CONFIG",
        "EXISTS",
        "GET",
        "HELLO",
        "HGET",
        "HGETALL",
        "HLEN",
        "INFO",
        "MEMORY",
        "PING",
        "ROLE",
        "SCRIPT",
        "SELECT",
        "TIME",
        "XINFO",
        "XLEN",
        "XPENDING",
        "XRANGE",
        "XREAD",
        "XREVRANGE",
        "ZRANGE",
        "ZRANGEBYSCORE",
        "ZSCORE",
    ]
)
ALL = frozenset[str]()


@dataclass(frozen=True)
class Fault:
    """What the server says to every command but the *allowed* ones; nothing: the connection is cut, or is silent."""

    says: str | None = None
    allowed: frozenset[str] = READS
    silent: bool = False


FAULTS = {
    "away": Fault(),
    "silent": Fault(silent=True),
    "loading": Fault("LOADING server is loading the dataset in memory", ALL),
    "disk full": Fault("MISCONF Errors writing to the AOF file: No space left on device", READS - {"PING"}),
    "memory full": Fault("OOM command not allowed when used memory > 'maxmemory'."),
    "read only": Fault("READONLY You can't write against a read only replica."),
    "wrong password": Fault("WRONGPASS invalid username-password pair or user is disabled.", ALL),
}


class Refusing(Proxy):
    """Fails from the command number *step* on, until it is healed."""

    def __init__(self, port: int, fault: Fault, step: int) -> None:
        super().__init__(port, seed=0)
        self.seen = 0
        self._fault: Fault | None = fault
        self._step = step

    @property
    def failing(self) -> bool:
        """Whether the step was reached."""
        return self._fault is not None and self.seen > self._step

    def heal(self) -> None:
        """Be a server that works."""
        self._fault = None
        self.let_go()
        self.cut()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, replies: bool) -> None:
        if replies:
            await super()._pass(source, target, replies=True)
            return
        left = b""
        while data := await source.read(CHUNK):
            commands, left = split(left + data)
            for name, command in commands:
                self.seen += 1
                fault = self._fault if self.failing else None
                if fault and fault.says is None and not fault.silent:
                    return
                if fault and fault.silent:
                    self.hold()
                await self._open.wait()
                refused = fault and fault.says and name not in fault.allowed
                target.write(error(fault.says) if fault and fault.says and refused else command)
            await target.drain()


def split(data: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """Return the whole commands in *data*, each with its name, and what is left."""
    found, at = [], 0
    while (end := _end_of(data, at)) is not None:
        name = data[at:end].split(b"\r\n", 3)[2].decode()
        found.append((name.upper(), data[at:end]))
        at = end
    return found, data[at:]


def _end_of(data: bytes, at: int) -> int | None:
    """Return where the command that begins at *at* ends; none where it is not whole."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    parts, at = int(data[at + 1 : line]), line + 2
    for _ in range(parts):
        line = data.find(b"\r\n", at)
        if line < 0:
            return None
        at = line + 2 + int(data[at + 1 : line]) + 2
        if at > len(data):
            return None
    return at


def error(text: str) -> bytes:
    """Return a command that the server answers with *text* as an error, in its turn."""
    parts = ["EVAL", "return redis.error_reply(ARGV[1])", "0", text]
    return "".join([f"*{len(parts)}\r\n", *(f"${len(part)}\r\n{part}\r\n" for part in parts)]).encode()
