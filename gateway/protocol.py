"""uvicorn's HTTP protocol with patience that ends, and a door that shuts.

Slow, endless or absent headers close the connection; a call that would be refused is refused at its headers.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.guard import NOTHING, SECURITY
from gateway.intake import WHOLE
from gateway.problems import CODES, Problem

Headers = Iterable[tuple[bytes, bytes]]
Refusal = Callable[[bytes, bytes, Headers], Problem | None]

MOST_HEADER_BYTES: Final = 32 << 10  # the guard refuses 16 KiB with an answer of its own
LINGER_S: Final = 1.0  # for a caller who is still sending to read why it is refused


class Corked:
    """A transport that sends head and body of an answer in one piece: a write is a system call of 10 us or more.

    Closed in the midst of a request it only stops sending, and goes on reading for `LINGER_S` or until the caller
    hangs up: whatever arrives at a closed socket makes the system reset it, and a reset takes the answer away.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._closing = False
        self.midway = False  # a request has begun to arrive and not ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send *data* when the loop's turn is over."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def is_closing(self) -> bool:
        """Tell whether nothing more is sent or understood."""
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Send what waits and close."""
        self._flush()
        if not self.midway:
            self._transport.close()
        elif not self.is_closing():
            self._closing = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self._loop.call_later(LINGER_S, self._transport.abort)

    def _flush(self) -> None:
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()


class PatientProtocol(HttpToolsProtocol):
    """Gives a request's headers `header_timeout_s` from the connection, or from their first byte on."""

    header_timeout_s = 10.0
    refusal: Refusal  # of a call, by its method, target and headers
    transport: Corked  # type: ignore[assignment]
    _in_headers = False
    _in_body = False
    _turned_away = False  # the request whose body is coming was answered at its headers
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
        if self.transport.is_closing():
            return
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
        self._in_headers = self.transport.midway = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers came in time."""
        self._in_headers, self._in_body, self._ended, self._received = False, True, True, 0
        self._disarm()
        if problem := self._refusal():
            self._turn_away(problem)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a body, unless nobody reads it."""
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The next bytes are another request's."""
        self._in_body, self._ended, self.transport.midway = False, True, False
        if self._turned_away:
            self._turned_away = False
            self._disarm()
        else:
            self.scope["state"][WHOLE] = True
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text; ours is a problem
        """Answer what is not HTTP."""
        self._refuse("bad_request")

    def _refusal(self) -> Problem | None:
        """Say why the request need not be read; not of one that waits for another, or whose caller asks to go on."""
        if max(len(self.connections), len(self.tasks)) >= (self.limit_concurrency or sys.maxsize):
            return Problem("overloaded", headers={"Connection": "close"})
        if self.expect_100_continue or (self.cycle is not None and not self.cycle.response_complete):
            return None
        return self.refusal(self.parser.get_method(), self.url, self.headers)

    def _turn_away(self, problem: Problem) -> None:
        self._turned_away = True
        if not self.parser.should_keep_alive():
            problem.headers["Connection"] = "close"
        self._arm()  # the rest of the request is read, but not for ever
        self.transport.write(_raw_response(problem, self.url.decode("latin-1")))
        if "Connection" in problem.headers:
            self.transport.close()

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
            self.transport.midway = True
            self.transport.write(_raw_response(Problem(code, headers={"Connection": "close"})))
            self.transport.close()


def patient_protocol(header_timeout_s: float, refusal: Refusal) -> type[PatientProtocol]:
    """Return the protocol with another patience, and what it asks before it reads a body."""
    return type("PatientProtocol", (PatientProtocol,), {"header_timeout_s": header_timeout_s, "refusal": refusal})


def _raw_response(problem: Problem, path: str = "") -> bytes:
    answer = problem.response(path)
    lines = [
        f"HTTP/1.1 {problem.status} {CODES[problem.code][1]}".encode(),
        *(b"%b: %b" % header for header in (*answer.raw_headers, *SECURITY, NOTHING)),
    ]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])
