"""uvicorn's HTTP protocol with patience that ends, and a door that shuts: that of every server of ours.

Slow, endless or absent headers close the connection; a call that would be refused is refused at its headers. What a
caller may ask of the connection itself (its Host, its length, an Upgrade) is decided here and nowhere else.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.addresses import Names, host_of
from broker.http_parser import Parser

MOST_HEADER_BYTES: Final = 32 << 10
LINGER_S: Final = 1.0  # for a caller who is still sending to read why it is refused
ASK_EVERY_S: Final = 1.0  # whether a caller who sends no more still reads; who has gone is noticed at the second time

SAID: Final = {
    "bad_request": (400, "This is no HTTP request that is understood here."),
    "request_timeout": (408, "The headers did not come in time."),
    "bad_host": (421, "This server does not answer to that name; set {setting}."),
    "headers_too_large": (431, "The headers are too large."),
    "unsupported_transfer_coding": (501, "No transfer coding but chunked is understood."),
    "overloaded": (503, "There are too many connections; come again later."),
}


@dataclass(slots=True)
class Refusal:
    """What a caller is told of whose call the application never hears; a subclass says it in its own way."""

    code: str  # of SAID
    headers: dict[str, str] = field(default_factory=dict)
    setting: str = ""

    def raw(self, path: str) -> bytes:  # noqa: ARG002 - for those who repeat it
        """Return the whole answer."""
        status, sentence = SAID[self.code]
        body = sentence.format(setting=self.setting).encode()
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))} | self.headers
        lines = [f"HTTP/1.1 {status} {self.code}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


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
        """Send *data* when the loop's turn is over; not behind last words."""
        if self._closing:
            return
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


@dataclass(slots=True)
class LastWords:
    """Stands among the requests that wait for those before them, and is what the connection ends with."""

    transport: Corked
    words: bytes

    async def run_asgi(self, app: Any) -> None:  # noqa: ARG002 - as uvicorn's own
        """Say them."""
        self.transport.write(self.words)
        self.transport.close()


class PatientProtocol(HttpToolsProtocol):
    """Gives a request's headers `header_timeout_s` from the connection, or from their first byte on."""

    header_timeout_s = 10.0
    names: Names | None = None  # that are answered; None: the application looks itself
    prefix = b""  # of paths, as a proxy before us may leave it: what follows is meant
    told: type[Refusal] = Refusal
    transport: Corked  # type: ignore[assignment]
    parser: Parser  # type: ignore[assignment]
    _in_headers = False
    _in_body = False
    _turned_away = False  # the request whose body is coming was answered at its headers
    _ending = False  # nothing more is read: answers are due, and last words after them
    _got_on = False  # headers ended in the bytes just read, or a part of a body came
    _received = 0  # bytes since then: of headers, or around a body, as its chunks' extensions and its trailer
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        self.parser = Parser(self)
        super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and go on waiting where no headers have ended."""
        if self._ending or self.transport.is_closing():
            return
        self._got_on = False
        super().data_received(data)
        if self._ending or self.transport.is_closing():
            return
        if (self._in_headers or self._in_body) and not self._got_on:
            self._received += len(data)
        if self._received > MOST_HEADER_BYTES:
            self._refuse("headers_too_large")
        # Bytes that begin no request have stopped uvicorn's own timer for idle connections, too.
        elif self._timer is None and (self._in_headers or self._is_answered()):
            self._arm()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open where answers are due: who has sent whole requests may stop sending (RFC 9112, 9.6).

        The last answer closes it.
        """
        if self._ending:
            return True
        if self._in_headers or self._in_body or self.cycle is None or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        self.loop.call_later(ASK_EVERY_S, self._ask_for_reader)
        return True

    def _ask_for_reader(self) -> None:
        """Send what means nothing and every client skips: to one that has gone, writing fails.

        The end of what a caller sends looks the same whether it waits or has gone.
        """
        if self.cycle.response_started or self.transport.is_closing():
            return
        if self.cycle.scope["http_version"] != "1.0":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.loop.call_later(ASK_EVERY_S, self._ask_for_reader)

    def on_message_begin(self) -> None:
        """The first byte of a request was read."""
        self._in_headers = self.transport.midway = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and leave a trailer's: what was decided about a request stays (RFC 9110, 6.5.1)."""
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers came in time."""
        if self.parser.stops:
            return
        if self.prefix and self.url.startswith(self.prefix + b"/"):
            self.url = self.url[len(self.prefix) :]
        self._in_headers, self._in_body = False, True
        self._get_on()
        self._disarm()
        if self.parser.get_http_version() == "1.0":  # which knows no interim answer (RFC 9110, 10.1.1)
            self.expect_100_continue = False
        if self._ending or self.transport.is_closing():
            self._turned_away = True  # what stands behind last words is no request
        elif problem := self._refusal():
            self._turn_away(problem)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a body, unless nobody reads it."""
        self._get_on()
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The next bytes are another request's."""
        if self.parser.stops:
            return
        self._in_body = self.transport.midway = False
        self._get_on()
        if self._turned_away:
            self._turned_away = False
            self._disarm()
        else:
            super().on_message_complete()
            self.cycle.keep_alive &= self.parser.should_keep_alive()  # a trailer may end the connection for the parser

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text; ours says no more than it must
        """Answer what is not HTTP."""
        self._refuse("bad_request")

    def refusal(self) -> Refusal | None:
        """Say why the request whose headers came need not be read; for subclasses."""
        return None

    def _refusal(self) -> Refusal | None:
        """Say why the request need not be read; not of one that waits for another, or whose caller asks to go on."""
        if max(len(self.connections), len(self.tasks)) >= (self.limit_concurrency or sys.maxsize):
            return self.told("overloaded", {"Connection": "close"})
        hosts = self._values(b"host")
        if code := self._unfit(hosts):
            return self.told(code, {"Connection": "close"})
        if self.names and (code := self.names.refusal(hosts)):
            return self.told(code, {"Connection": "close"}, self.names.setting)
        if self.expect_100_continue or (self.cycle is not None and not self.cycle.response_complete):
            return None
        return self.refusal()

    def _unfit(self, hosts: list[bytes]) -> str | None:
        """Say what RFC 9112 has against headers that the parser lets pass: their Host (3.2), their coding (6.1)."""
        if self.parser.get_method() == b"CONNECT":
            return "bad_request"
        version = self.parser.get_http_version()
        is_old = version == "1.0"
        if not is_old and version != "1.1":
            return "bad_request"
        if (len(hosts) != 1 and not (is_old and not hosts)) or any(host_of(host) is None for host in hosts):
            return "bad_request"
        codings = [one.strip().lower() for value in self._values(b"transfer-encoding") for one in value.split(b",")]
        if any(coding != b"chunked" for coding in codings):
            return "unsupported_transfer_coding"
        return "bad_request" if len(codings) > 1 or (codings and is_old) else None

    def _values(self, header: bytes) -> list[bytes]:
        return [value for name, value in self.headers if name == header]

    def _turn_away(self, refusal: Refusal) -> None:
        self._turned_away = True
        if not self.parser.should_keep_alive():
            refusal.headers["Connection"] = "close"
        self._arm()  # the rest of the request is read, but not for ever
        words = refusal.raw(self.url.decode("latin-1"))
        if "Connection" in refusal.headers:
            self._end(words)
        else:
            self.transport.write(words)

    def _get_on(self) -> None:
        self._got_on, self._received = True, 0

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

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
            has_its_answer = self._in_body and self._is_answered()
            self._end(b"" if has_its_answer else self.told(code, {"Connection": "close"}).raw(""))

    def _end(self, words: bytes) -> None:
        """Say *words* and close, after the answers that are due: a caller takes the first that comes for its first."""
        is_begun = self._in_body and not self._turned_away
        if is_begun and self.pipeline:
            self.pipeline.popleft()  # these words are its answer
            is_begun = False
        if is_begun or self._is_answered():
            self.transport.write(words)
            self.transport.close()
        else:
            self._ending = True
            self.pipeline.appendleft((LastWords(self.transport, words), self.app))  # type: ignore[arg-type]
