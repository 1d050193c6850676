"""A caller may offer another protocol; where its request ends stays what RFC 9112 says."""

import asyncio
import random

import httptools
import pytest

from broker.http_parser import Parser
from broker.listening import Server
from tests.broker.test_listening import NAMES, hang_up, said, serving

H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
OFFERS = {
    "h2c": H2C,
    "websocket": "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "several": "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\nUpgrade: anything\r\n",
    "keeps": "Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n",
}
BODY = b'{"text": "GET /smuggled HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n"}'
FRAMINGS = {
    "length": (f"Content-Length: {len(BODY)}\r\n", BODY),
    "chunked": (
        "Transfer-Encoding: chunked\r\n",
        b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:]),
    ),
    "none": ("", b""),
}


async def echo(scope, receive, send):
    """Answer with what was asked for and the whole body."""
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event["body"], event["more_body"]
    said = f"{scope['method']} {scope['path']} ".encode() + body
    headers = [(b"content-length", str(len(said)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said})


def post(path: str, offer: str, framing: str, more: str = "") -> bytes:
    """Return a request."""
    header, body = FRAMINGS[framing]
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{offer}{header}{more}\r\n".encode() + body


async def answers(port: int, sent: bytes, cuts: list[int]) -> bytes:
    """Return all that comes for *sent*, which goes out in parts that end at *cuts*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        writer.write(sent[begin:end])
        await writer.drain()
        await asyncio.sleep(0.001)  # a segment of its own
    async with asyncio.timeout(10):
        answer = await reader.read()
    await hang_up(writer)
    return answer


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("offer", OFFERS)
async def test_a_request_that_offers_a_protocol_is_answered_as_one_that_does_not(offer, framing):
    chance = random.Random(f"{offer} {framing}")
    last = post("/last", "Connection: close\r\n", "length")
    async with serving(Server(echo, NAMES)) as port:
        plain = await said(port, post("/first", "", framing) + post("/second", "", framing) + last)
        assert plain.count(b"HTTP/1.1 200 ") == 3
        offering = post("/first", OFFERS[offer], framing) + post("/second", OFFERS[offer], framing) + last
        for segments in (1, 2, 3, 4, 5):
            cuts = sorted(chance.sample(range(1, len(offering)), segments - 1))
            assert await answers(port, offering, cuts) == plain, cuts


async def test_a_caller_that_offers_a_protocol_and_asks_to_go_on_is_told_to():
    sent = post("/", H2C, "length", "Expect: 100-continue\r\n")
    async with serving(Server(echo, NAMES)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent[: -len(BODY)])
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(BODY)
            await reader.readuntil(b"POST / " + BODY)
        await hang_up(writer)


async def test_what_follows_a_head_of_connect_is_never_read():
    async with serving(Server(echo, NAMES)) as port:
        answer = await said(
            port, b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_many_offers_in_one_segment_are_read_one_after_the_other():
    offering = b"".join(post(f"/{number}", OFFERS["h2c"], "length") for number in range(300))
    async with serving(Server(echo, NAMES)) as port:
        answer = await said(port, offering + post("/last", "Connection: close\r\n", "length"))
    assert answer.count(b"HTTP/1.1 200 ") == 301


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: +3",
        "Content-Length: 3, 3",
        "Content-Length: 0x3",
        "Content-Length : 3",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "X: 1\r\n Content-Length: 3",
        "X: 1\nContent-Length: 3",
        "X: a\rContent-Length: 3",
    ],
)
@pytest.mark.parametrize("offer", ["", H2C])
async def test_a_request_whose_end_two_readers_may_see_in_two_places_is_refused(framing, offer):
    sent = f"POST / HTTP/1.1\r\nHost: localhost\r\n{offer}{framing}\r\n\r\n".encode() + b"abc"
    async with serving(Server(echo, NAMES)) as port:
        answer = await said(port, sent + b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.split(b" ")[1] in {b"400", b"501"}, answer
    assert b"smuggled" not in answer


def test_a_parser_without_offers_says_what_its_library_says():
    class Told:
        headers = ()

        def __init__(self):
            self.lines = []

        def __getattr__(self, name):
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda *words: self.lines.append((name, *words))

    sent = post("/first", "", "chunked") + post("/second", "", "length")
    ours, theirs = Told(), Told()
    Parser(ours).feed_data(sent)
    httptools.HttpRequestParser(theirs).feed_data(sent)
    assert ours.lines == theirs.lines
