"""Calls that are refused at their headers, and those that must be read all the same."""

import asyncio

import httpx
import pytest

from tests.gateway.stack import EchoWorker, RunningGateway, running_stack, running_worker
from tests.servers import eventually

CALL = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture
async def full(gateway_settings, monkeypatch):
    """A gateway whose log has just refused a text, and remembers it for the length of a test."""
    monkeypatch.setattr("gateway.accepting.FULL_S", 30)
    monkeypatch.setattr("gateway.fleet.REFRESH_S", 0.1)
    async with running_stack(gateway_settings(gateway_header_timeout_s=0.5)) as (gateway, worker):
        worker.texts_per_second = 1.0
        await worker.announce()
        fleet = gateway.app.state.gateway.fleet
        await eventually(
            lambda: asyncio.sleep(0, [view.texts_per_second for view in fleet.models] == [1.0]), "the speed is known"
        )
        worker.holding.clear()
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as impatient:
            waiting = [asyncio.create_task(impatient.post("/predict", json={"text": "a"})) for _ in range(30)]
            await eventually(lambda: asyncio.sleep(0, sum(task.done() for task in waiting)), "some are refused")
            assert {task.result().json()["code"] for task in waiting if task.done()} == {"overloaded"}
            yield gateway
            worker.holding.set()
            assert {(await task).status_code for task in waiting} == {200, 503}


async def speak(gateway: RunningGateway, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    return reader, writer


async def answer(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(3):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return head + (await reader.readexactly(length)).decode()


async def test_a_call_that_would_be_refused_is_refused_before_its_body_comes(full):
    reader, writer = await speak(full, CALL + b"content-length: 13\r\n\r\n")
    refused = await answer(reader)
    assert refused.startswith("http/1.1 503 ")
    assert '"code":"overloaded"' in refused
    for header in ("retry-after: ", "application/problem+json", "x-content-type-options: nosniff", "content-security-"):
        assert header in refused
    # The connection goes on with the next request once the body has come.
    writer.write(b'{"text": "a"}GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n')
    assert (await answer(reader)).startswith("http/1.1 200 ")
    writer.close()


async def test_a_body_that_never_ends_is_not_read_for_ever(full):
    reader, writer = await speak(full, CALL + b"content-length: 1000\r\n\r\n")
    await answer(reader)
    async with asyncio.timeout(3):
        assert await reader.read() == b""
    writer.close()


async def test_a_refused_caller_who_closes_the_connection_is_hung_up_on(full):
    reader, writer = await speak(full, CALL + b"connection: close\r\ncontent-length: 2\r\n\r\n{}")
    assert "connection: close" in await answer(reader)
    async with asyncio.timeout(3):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/models/sentiment/predict", {}, 503),
        ("/v1/models/sentiment/versions/1/predict", {}, 503),
        ("/v2/models/sentiment/infer", {}, 503),
        ("/predict", {"prefer": "respond-async"}, 202),
        ("/v1/models/other/predict", {}, 404),
        ("/feedback", {}, 422),
    ],
)
async def test_only_calls_that_would_be_refused_in_any_case_are_not_read(full, path, headers, status):
    refused = await full.client.post(path, json={"text": "a"}, headers=headers)
    assert refused.status_code == status
    assert ("error" in refused.json()) == path.startswith("/v2/")


async def test_a_repeated_call_is_read_since_its_answer_may_be_there(full):
    answers = [
        await full.client.post("/predict", content=b"{", headers={"content-type": "application/json", **headers})
        for headers in ({}, {"idempotency-key": "k"})
    ]
    assert [each.status_code for each in answers] == [503, 400]


async def test_a_call_whose_path_names_no_model_is_read_while_one_model_has_room(full, gateway_settings):
    fleet = full.app.state.gateway.fleet
    async with running_worker(EchoWorker(gateway_settings(), "quiet")):
        await eventually(lambda: asyncio.sleep(0, len(fleet.models) == 2), "the other model is known")
        answers = [
            await full.client.post("/predict", json={"text": "a", "model": name}) for name in ("quiet", "sentiment")
        ]
    assert [answer.status_code for answer in answers] == [200, 503]


async def test_what_became_of_an_earlier_call_is_asked_of_a_log_that_is_full(full):
    key = {"idempotency-key": "k"}
    first = await full.client.post("/predict", json={"text": "a"}, headers=key | {"prefer": "respond-async"})
    assert first.status_code == 202
    assert (await full.client.post("/predict", json={"text": "a"})).json()["code"] == "overloaded"
    assert (await full.client.post("/predict", json={"text": "another"}, headers=key)).status_code == 409


async def test_refusals_at_the_door_are_counted(full):
    before = await counted(full)
    assert (await full.client.post("/predict", json={"text": "a"})).status_code == 503
    assert await counted(full) == before + 1


async def counted(gateway: RunningGateway) -> float:
    lines = (await gateway.client.get("/metrics")).text.splitlines()
    [line] = [line for line in lines if line.startswith('observa_requests_total{model="sentiment",status="503"}')]
    return float(line.split()[1])


async def test_past_the_limit_on_connections_a_caller_is_told_to_come_again(gateway_settings):
    async with running_stack(gateway_settings(gateway_max_connections=3)) as (gateway, _):
        idle = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(3)]
        await asyncio.sleep(0.1)
        async with httpx.AsyncClient(base_url=gateway.url) as another:
            refused = await another.post("/predict", json={"text": "a"})
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert "retry-after" in refused.headers
        for _, writer in idle:
            writer.close()
