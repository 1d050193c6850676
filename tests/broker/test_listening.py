"""The limits of the protocol that every server of ours speaks, and the names that it answers to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from broker.addresses import names_of
from broker.http_protocol import MOST_HEADER_BYTES
from broker.listening import MOST_CONNECTIONS, Server, listen

NAMES = names_of("monitor.internal", "other.example, Third.example", "OBSERVA_ALLOWED_HOSTS")


async def hello(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[int]:
    listener = listen("127.0.0.1", 0, "OBSERVA_TEST")
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def said(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(10):
        answer = await reader.read()
    await hang_up(writer)
    return answer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def get(host: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8001",
        "127.0.0.1:8001",
        "[::1]:8001",
        "10.1.2.3:9101",
        "[fd00::7]",
        "monitor.internal",
        "other.example:1",
        "third.example",
    ],
)
async def test_a_server_answers_to_names_that_it_knows_and_to_addresses_in_figures(host):
    async with serving(Server(hello, NAMES)) as port:
        assert (await said(port, get(host))).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Host: evil.example", 421),
        ("Host: localhost.evil.example", 421),
        ("Host: 127.0.0.1.evil.example", 421),
        ("Host: 2130706433x", 421),
        ("Host:", 421),
        ("Host: localhost\r\nHost: evil.example", 400),
        ("Host: [::1]evil.example", 400),
        ("Host: localhost:80@evil.example", 400),
        ("Host: localhost, evil.example", 400),
        ("Accept: */*", 400),
    ],
)
async def test_another_name_is_refused_and_what_names_it_is_said(head, status):
    async with serving(Server(hello, NAMES)) as port:
        answer = await said(port, f"GET / HTTP/1.1\r\n{head}\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert status != 421 or b"OBSERVA_ALLOWED_HOSTS" in answer
    assert b"evil" not in answer


async def test_headers_that_do_not_end_are_refused_by_size_and_by_time():
    server = Server(hello, NAMES)
    server.config.http.header_timeout_s = 0.3
    async with serving(server) as port:
        endless = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (MOST_HEADER_BYTES + 1)
        assert (await said(port, endless)).startswith(b"HTTP/1.1 431 ")
        assert (await said(port, b"GET / HTTP/1.1\r\nHost: local")).startswith(b"HTTP/1.1 408 ")
        assert await said(port, b"") == b""


async def test_one_connection_too_many_is_refused_and_the_others_are_served():
    server = Server(hello, NAMES)
    assert server.config.limit_concurrency == MOST_CONNECTIONS
    server.config.limit_concurrency = 3
    async with serving(server) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert (await said(port, get("localhost"))).startswith(b"HTTP/1.1 503 ")
        held[0][1].write(get("localhost"))
        assert (await held[0][0].read()).startswith(b"HTTP/1.1 200 ")
        for _, writer in held:
            await hang_up(writer)


async def test_what_is_no_http_is_refused_without_being_repeated():
    async with serving(Server(hello, NAMES)) as port:
        answer = await said(port, b"EVIL evil\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"EVIL" not in answer
