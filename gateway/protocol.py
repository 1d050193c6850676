"""uvicorn's HTTP protocol with patience that ends: slow, endless or absent headers close the connection."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.intake import WHOLE
from gateway.problems import CODES, Problem

MOST_HEADER_BYTES: Final = 32 << 10  # the guard refuses 16 KiB with an answer of its own


class Corked:
    """A transport that sends head and body of an answer in one piece: a write is a system call of 10 us or more."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send *data* when the loop's turn is over."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def close(self) -> None:
        """Send what waits and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()


class PatientProtocol(HttpToolsProtocol):
    """Gives a request's headers `header_timeout_s` from the connection, or from their first byte on."""

    header_timeout_s = 10.0
    _in_headers = False
    _in_body = False
    _ended = False  # headers or a body ended in the bytes just read
    _received = 0  # bytes of headers that have not ended
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and go on waiting where no headers have ended."""
        self._ended = False
        super().data_received(data)
        if self._in_body or self.transport.is_closing():
            return
        if self._in_headers and not self._ended:
            self._received += len(data)
        if self._received > MOST_HEADER_BYTES:
            self._refuse("headers_too_large")
        # Bytes that begin no request have stopped uvicorn's own timer for idle connections, too.
        elif self._timer is None and (self._in_headers or self.cycle is None or self.cycle.response_complete):
            self._arm()

    def on_message_begin(self) -> None:
        """The first byte of a request was read."""
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers came in time."""
        self._in_headers, self._in_body, self._ended, self._received = False, True, True, 0
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes are another request's."""
        self._in_body, self._ended = False, True
        self.scope["state"][WHOLE] = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text; ours is a problem
        """Answer what is not HTTP."""
        self._refuse("bad_request")

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._arm()  # a pipelined request is late; the one before it is still being answered
        elif self._received:
            self._refuse("request_timeout")
        else:
            self.transport.close()

    def _refuse(self, code: str) -> None:
        if not self.transport.is_closing():
            self.transport.write(_raw_response(Problem(code)))
            self.transport.close()


def patient_protocol(header_timeout_s: float) -> type[PatientProtocol]:
    """Return the protocol with another patience."""
    return type("PatientProtocol", (PatientProtocol,), {"header_timeout_s": header_timeout_s})


def _raw_response(problem: Problem) -> bytes:
    body = problem.body()
    head: dict[str, Any] = {
        "content-type": "application/problem+json",
        "content-length": len(body),
        "connection": "close",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    lines = [
        f"HTTP/1.1 {problem.status} {CODES[problem.code][1]}",
        *(f"{name}: {value}" for name, value in head.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
