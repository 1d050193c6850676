"""An HTTP client light enough not to be the slowest part: httpx's pool was, by far."""

import asyncio
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Reply(NamedTuple):
    """What came back."""

    status: int
    head: bytes  # in lower case
    body: bytes


class Caller:
    """Calls services of this machine over connections that are kept; cancelled, it hangs up."""

    def __init__(self) -> None:
        self._idle: dict[int, list[Connection]] = {}

    async def ask(self, port: int, call: str, body: str, headers: str = "") -> Reply:
        """Make one call; *call* is its method and target, *headers* are whole lines.

        Raises:
            OSError, asyncio.IncompleteReadError: there is nobody, or the connection broke.

        """
        writer, content = None, body.encode()
        try:
            reader, writer = self._kept(port) or await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                f"{call} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{headers}"
                f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            answer = await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if writer:
                writer.transport.abort()
            raise
        self._idle.setdefault(port, []).append((reader, writer))
        return Reply(int(head[9:12]), head, answer)

    def _kept(self, port: int) -> Connection | None:
        idle = self._idle.get(port, [])
        while idle:
            reader, writer = idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.transport.abort()
        return None

    async def close(self) -> None:
        """Hang up, and wait until it is done: a transport that is still closing when its loop ends warns later."""
        for _, writer in chain.from_iterable(self._idle.values()):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
