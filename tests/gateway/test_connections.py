"""Callers who speak HTTP badly, slowly or not at all."""

import asyncio
import json
from contextlib import suppress

import pytest

from tests.gateway.stack import RunningGateway, running_stack

HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture
async def hasty(gateway_settings):
    """A gateway with little patience."""
    settings = gateway_settings(gateway_header_timeout_s=0.3, gateway_body_timeout_s=0.3)
    async with running_stack(settings) as (gateway, _):
        yield gateway


async def speak(gateway: RunningGateway, *parts: bytes, pause_s: float = 0.0) -> tuple[int, str]:
    """Send *parts* and return the status (0: none) and code of all that comes until the gateway hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    speaking = asyncio.create_task(_say(writer, parts, pause_s))
    async with asyncio.timeout(5):
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
    await speaking
    writer.close()
    if not answer:
        return 0, ""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["code"]


async def _say(writer: asyncio.StreamWriter, parts: tuple[bytes, ...], pause_s: float) -> None:
    with suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)


async def test_a_connection_may_rest_between_calls_for_as_long_as_is_set(gateway_settings):
    async with running_stack(gateway_settings(gateway_keep_alive_s=1)) as (gateway, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for pause_s in (0.5, 0):
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert (await reader.readuntil(b'{"status":"alive"}')).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(pause_s)
        rested_from = asyncio.get_running_loop().time()
        async with asyncio.timeout(5):
            assert not await reader.read()
        assert asyncio.get_running_loop().time() - rested_from > 0.9
        writer.close()


async def test_who_stops_sending_after_a_whole_request_gets_its_answer(hasty):
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
    writer.write(HEAD + b'content-length: 16\r\n\r\n{"text":"a joy"}')
    writer.write_eof()
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert (answer.count(b"HTTP/1.1 200 "), answer.count(b'"label":"positive"')) == (1, 1)
    writer.close()


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        (b"host: localhost", 400, "bad_request"),  # the second
        (b"transfer-encoding: gzip, chunked", 501, "unsupported_transfer_coding"),
    ],
)
async def test_headers_that_can_be_read_in_two_ways_are_refused(hasty, header, status, code):
    assert await speak(hasty, HEAD + header + b"\r\n\r\n0\r\n\r\n") == (status, code)


async def test_a_host_with_something_behind_its_brackets_is_refused(hasty):
    assert await speak(hasty, b"GET /healthz HTTP/1.1\r\nhost: [::1]evil\r\n\r\n") == (400, "bad_request")


async def test_a_probe_of_http_1_0_may_name_no_host(hasty):
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
    writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_long_body_is_refused_by_its_announced_length(hasty):
    assert await speak(hasty, HEAD + b"content-length: 163841\r\n\r\n") == (413, "body_too_large")


async def test_a_long_body_without_length_is_cut_off(hasty):
    chunk = b"8000\r\n" + b"a" * 0x8000 + b"\r\n"
    parts = (HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 5, b"1\r\na\r\n")
    assert await speak(hasty, *parts) == (413, "body_too_large")


async def test_a_slow_body_is_not_waited_for(hasty):
    assert await speak(hasty, HEAD + b"content-length: 10\r\n\r\n{") == (408, "request_timeout")


async def test_a_body_that_trickles_is_not_waited_for(hasty):
    parts = (HEAD + b"content-length: 100\r\n\r\n", *[b"{"] * 5)
    assert await speak(hasty, *parts, pause_s=0.1) == (408, "request_timeout")


async def test_a_refusal_reaches_a_caller_who_goes_on_sending(hasty):
    said = HEAD + b"content-length: 99999999\r\n\r\n" + b"a" * (8 << 20)
    assert await speak(hasty, said) == (413, "body_too_large")


async def test_a_refused_caller_who_never_hangs_up_is_cut_off(hasty):
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
    writer.write(HEAD + b"content-length: 99999999\r\n\r\n")
    assert await reader.read()  # the answer, and the end of what is sent
    with pytest.raises(ConnectionError):
        await _send_for(5, writer)


async def _send_for(seconds: float, writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(seconds):
        while True:
            writer.write(b"a" * 1000)
            await writer.drain()
            await asyncio.sleep(0.02)


async def test_slow_headers_are_not_waited_for(hasty):
    assert await speak(hasty, HEAD) == (408, "request_timeout")


async def test_headers_that_trickle_are_not_waited_for(hasty):
    assert await speak(hasty, HEAD, *[b"x-a: b\r\n"] * 3, pause_s=0.05) == (408, "request_timeout")


async def test_a_silent_connection_is_closed(hasty):
    assert await speak(hasty) == (0, "")


async def test_blank_lines_do_not_keep_a_connection_open(hasty):
    status, code = await speak(hasty, *[b"\r\n"] * 3, pause_s=0.05)
    assert (status, code) in {(0, ""), (408, "request_timeout")}


async def test_slow_headers_of_a_second_request_are_not_waited_for(hasty):
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await reader.readuntil(b"}")
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    async with asyncio.timeout(3):
        assert b"request_timeout" in await reader.read()
    writer.close()


async def test_headers_without_end_are_cut_off(hasty):
    assert await speak(hasty, HEAD, b"x-a: " + b"a" * 40_000) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"content-length: -1\r\n\r\n{}",
        b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"transfer-encoding: chunked\r\n\r\nzz\r\n{}",
        b"no colon\r\n\r\n",
        b"x-folded: a\r\n b\r\ncontent-length: 1, 2\r\n\r\n{}",
    ],
    ids=["length_and_chunks", "negative_length", "two_lengths", "bad_chunk", "no_colon", "list_of_lengths"],
)
async def test_what_is_not_http_is_refused_and_the_connection_closed(hasty, head):
    status, code = await speak(hasty, HEAD + head)
    assert status in {400, 408}
    assert code in {"bad_request", "request_timeout"}


async def test_garbage_is_refused(hasty):
    assert await speak(hasty, b"\x16\x03\x01\x02\x00\x01\x00") == (400, "bad_request")


async def test_the_address_family_of_a_host_header_does_not_matter(hasty):
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
        assert (await hasty.client.get("/healthz", headers={"host": host})).status_code == 200
