"""The limits of the protocol that every server of ours speaks, and the names that it answers to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from broker.addresses import names_of
from broker.errors import SettingsError
from broker.http_protocol import MOST_HEADER_BYTES
from broker.listening import GRACE_S, MOST_CONNECTIONS, Server, listen

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
        "monitor.internal.:8001",
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
        ("Host: localhost\r\nTransfer-Encoding: gzip, chunked", 501),
        ("Host: localhost\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 501),
        ("Host: localhost\r\nTransfer-Encoding: chunked, chunked", 400),
    ],
)
async def test_another_name_or_coding_is_refused_and_what_names_a_host_is_said(head, status):
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


def chunked(trailer: bytes, more: str = "") -> bytes:
    return (
        f"POST / HTTP/1.1\r\nHost: localhost\r\n{more}Transfer-Encoding: chunked\r\n\r\n".encode()
        + b"1\r\na\r\n0\r\n"
        + trailer
    )


OFFER = "Connection: Upgrade\r\nUpgrade: h2c\r\n"


@pytest.mark.parametrize("more", ["", OFFER])
async def test_a_trailer_changes_no_headers(more):
    seen = []

    async def application(scope, receive, send):
        while (await receive())["more_body"]:
            pass
        seen.append(dict(scope["headers"]))
        await hello(scope, receive, send)

    trailer = b"Authorization: Bearer other\r\nContent-Encoding: gzip\r\n\r\n"
    async with serving(Server(application, NAMES)) as port:
        assert (await said(port, chunked(trailer, more) + get("localhost"))).count(b"HTTP/1.1 200 ") == 2
    assert {b"authorization", b"content-encoding"}.isdisjoint(seen[0])


@pytest.mark.parametrize("more", ["", OFFER])
@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"0\r\n", b"A: b\r\n"),
        (b"0\r\nA: ", b"bbbbbb"),
        (b"1;a=", b"bbbbbb"),
        (b"", b"000000"),
    ],
)
async def test_what_surrounds_a_body_without_end_is_refused_by_size(more, begin, piece):
    async def reads(_scope, receive, _send):
        while (await receive())["type"] != "http.disconnect":
            pass

    async with serving(Server(reads, NAMES)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chunked(b"", more)[: -len(b"0\r\n")] + begin)
        for _ in range(20):
            writer.write(piece * (MOST_HEADER_BYTES // 60))
            await asyncio.sleep(0.001)
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
        await hang_up(writer)


async def test_a_body_in_the_smallest_chunks_is_no_trailer_without_end():
    one, count = b"1\r\na\r\n", MOST_HEADER_BYTES // 2
    async with serving(Server(hello, NAMES)) as port:
        answer = await said(port, chunked(b"")[: -len(b"0\r\n")] + one * count + b"0\r\n\r\n" + get("localhost"))
    assert answer.count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize("more", ["", OFFER])
async def test_a_connection_that_a_trailer_closes_does_not_stay_open_unheard(more):
    async def reads(_scope, receive, send):
        while (await receive())["more_body"]:
            pass
        await hello(_scope, receive, send)

    async with serving(Server(reads, NAMES)) as port:
        answer = await said(port, chunked(b"Connection: close\r\n\r\n", more) + get("localhost"))
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert b"connection: close" in answer


REFUSED = {
    "no_http": b"c4n4ry\r\n\r\n",
    "two_hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "another_name": get("evil.example"),
    "another_coding": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    "no_chunk": chunked(b"")[: -len(b"1\r\na\r\n0\r\n")] + b"zz\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("before", [0, 1, 3])
async def test_a_request_that_is_refused_takes_no_other_s_answer_and_none_behind_it_is_heard(name, before):
    heard = []

    async def slow(scope, receive, send):
        heard.append(scope["path"])
        while (event := await receive()).get("more_body"):
            pass
        if event["type"] != "http.disconnect":
            await asyncio.sleep(0.02)
            await hello(scope, receive, send)

    good = b"GET /good HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving(Server(slow, NAMES)) as port:
        answer = await said(port, good * before + REFUSED[name] + b"GET /behind HTTP/1.1\r\nHost: localhost\r\n\r\n")
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses[:-1] == [b"200"] * before
    assert statuses[-1] >= b"400"
    assert "/behind" not in heard


@pytest.mark.parametrize("version", ["0.9", "2.0"])
async def test_another_http_than_1_0_and_1_1_is_refused(version):
    async with serving(Server(hello, NAMES)) as port:
        answer = await said(port, get("localhost").replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_body_that_comes_after_its_answer_is_not_waited_for_without_end():
    server = Server(hello, NAMES)
    server.config.http.header_timeout_s = 0.3
    async with serving(server) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
            writer.write(b"x")
            assert await reader.read() == b""
        await hang_up(writer)


async def test_a_caller_who_does_not_read_its_answer_holds_up_no_end():
    sending = asyncio.Event()

    async def endless(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        sending.set()
        while True:
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            await asyncio.sleep(0)

    server = Server(endless, NAMES)
    assert server.config.timeout_graceful_shutdown == GRACE_S
    server.config.timeout_graceful_shutdown = 1
    async with asyncio.timeout(20), serving(server) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("localhost"))
        await sending.wait()
    await hang_up(writer)


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


async def test_a_caller_of_http_1_0_may_name_no_host_and_send_nothing_in_chunks():
    async with serving(Server(hello, NAMES)) as port:
        assert (await said(port, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        chunked = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        assert (await said(port, chunked)).startswith(b"HTTP/1.1 400 ")
        assert (await said(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(("version", "interim"), [("1.1", 1), ("1.0", 0)])
async def test_a_caller_is_told_to_go_on_unless_its_http_knows_no_such_answer(version, interim):
    async def reading(scope, receive, send):
        await receive()
        await hello(scope, receive, send)

    head = f"POST / HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n"
    async with serving(Server(reading, NAMES)) as port:
        answer = await said(port, f"{head}Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx".encode())
    assert answer.count(b"HTTP/1.1 100 ") == interim
    assert answer.count(b"HTTP/1.1 200 ") == 1


def test_a_host_that_has_no_address_is_said_in_words():
    with pytest.raises(SettingsError, match=r"nowhere\.invalid port 1 \((?!Unknown)"):
        listen("nowhere.invalid", 1, "OBSERVA_TEST")


class Slow:
    """An application that answers when it is told to, and knows whether its caller has gone."""

    def __init__(self):
        self.asked, self.may_answer, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, scope, receive, send):
        await receive()
        self.asked.set()
        watching = asyncio.create_task(self._watch(receive))
        await self.may_answer.wait()
        watching.cancel()
        await hello(scope, receive, send)

    async def _watch(self, receive):
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_who_stops_sending_after_whole_requests_gets_every_answer(version):
    slow = Slow()
    head = f"GET / HTTP/{version}\r\nHost: localhost\r\n\r\n".encode()
    async with serving(Server(slow, NAMES)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head * (2 if version == "1.1" else 1))  # the second waits for the first
        writer.write_eof()
        async with asyncio.timeout(10):
            await slow.asked.wait()
            if version == "1.1":
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            slow.may_answer.set()
            answer = await reader.read()
        assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"hello") == (2 if version == "1.1" else 1)
        assert not slow.gone.is_set()
        await hang_up(writer)


async def test_who_has_gone_is_noticed_although_it_looks_like_one_who_only_stopped_sending():
    slow = Slow()
    async with serving(Server(slow, NAMES)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("localhost"))
        async with asyncio.timeout(10):
            await slow.asked.wait()
            await hang_up(writer)
            await slow.gone.wait()
        slow.may_answer.set()
