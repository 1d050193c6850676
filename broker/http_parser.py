"""httptools' parser of requests that reads on where a caller offers another protocol.

A server may ignore an Upgrade (RFC 9110, 7.8), and we know no other protocol. httptools takes what follows such a head
for that protocol: it drops the body, and bytes of it that come later are read as the next request.
"""

from typing import Any, Final

import httptools

_FRAMING: Final = frozenset({b"connection", b"content-length", b"transfer-encoding"})


class Parser:
    """Tells *protocol* of requests, as httptools does; its `headers` are those of the request that is read."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._parser = _parser_for(protocol)

    def feed_data(self, data: bytes) -> None:
        """Read on.

        Raises:
            httptools.HttpParserError: this is no HTTP.

        """
        while True:
            try:
                return self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as stopped:
                if not self.stops:  # CONNECT, whose caller was refused at the head
                    return None
                data = data[stopped.args[0] :]
                self._read_head_again()

    @property
    def stops(self) -> bool:
        """Whether the head that ends here offers another protocol: it will end once more, and then its body begins."""
        return self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"

    def should_upgrade(self) -> bool:
        """Tell whether other bytes than HTTP's follow."""
        return self._parser.should_upgrade()

    def should_keep_alive(self) -> bool:
        """Tell whether another request may follow on the connection."""
        return self._parser.should_keep_alive()

    def get_method(self) -> bytes:
        """Return the method of the request whose head has ended."""
        return self._parser.get_method()

    def get_http_version(self) -> str:
        """Return the version of the request whose head has ended, as 1.1."""
        return self._parser.get_http_version()

    def _read_head_again(self) -> None:
        """Let a new parser read what says where the request ends, as the old one would have."""
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        framing = b"".join(b"%s: %s\r\n" % header for header in self._protocol.headers if header[0] in _FRAMING)
        self._parser = _parser_for(_AfterHead(self._protocol))
        self._parser.feed_data(b"%s / HTTP/%s\r\n%s\r\n" % (method, version, framing))


class _AfterHead:
    """Passes on what a parser tells, from the end of the first head on."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._is_past = False
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if self._is_past:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._is_past:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_past:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_past = True
        self._protocol.on_headers_complete()


def _parser_for(protocol: Any) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn: the first request is answered
    return parser
