"""Redis gone, slow, emptied or back; the process told to stop; a start that cannot work."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from broker.events import Request
from broker.log import Unit
from broker.streams import PredictionId, Tag
from gateway import fleet
from gateway.settings import GatewaySettings
from tests.gateway.stack import EchoWorker, running_stack, running_worker
from tests.servers import RedisServer, eventually, free_port

ROOT = Path(__file__).parent.parent.parent
SENTIMENT = Tag("sentiment")


@pytest.fixture
def own_settings(own_server: RedisServer) -> GatewaySettings:
    return GatewaySettings(redis_url=own_server.url, redis_password_file=None, gateway_drain_s=0)


async def test_without_redis_calls_fail_fast_and_work_again_when_it_is_back(own_server, own_settings):
    async with running_stack(own_settings) as (gateway, _):
        own_server.kill()
        began = time.monotonic()
        calls = [
            gateway.client.post("/predict", json={"text": "a"}),
            gateway.client.post("/predict", json={"text": "a"}, headers={"prefer": "respond-async"}),
            gateway.client.post("/v2/models/sentiment/infer", json=_tensor()),
            gateway.client.post("/feedback", json={"id": _some_id(), "label": "positive"}),
            gateway.client.get(f"/v1/predictions/{_some_id()}"),
            gateway.client.get("/v1/streams"),
            gateway.client.get("/v1/alerts"),
            gateway.client.get("/v1/models/unheard-of"),
        ]
        for answer in await asyncio.gather(*calls):
            assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
        assert time.monotonic() - began < 4
        assert (await gateway.client.get("/readyz")).status_code == 503
        assert (await gateway.client.get("/healthz")).status_code == 200
        own_server.start()
        await eventually(lambda: _answers(gateway.client), "calls work again", 10)


async def test_a_redis_that_does_not_answer_is_not_waited_for(own_server, own_settings):
    async with running_stack(own_settings) as (gateway, _):
        os.kill(own_server.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            answers = await asyncio.gather(*(gateway.client.post("/predict", json={"text": "a"}) for _ in range(50)))
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
        assert {answer.status_code for answer in answers} == {503}
        assert time.monotonic() - began < 5
        await eventually(lambda: _answers(gateway.client), "calls work again", 10)


async def test_who_waits_behind_a_call_that_could_not_be_made_is_refused_with_it(stack, monkeypatch):
    accepting, both_came, tried = stack[0].app.state.gateway.serving._accepting, asyncio.Event(), []

    async def unreachable(_tag, units, _limit):
        tried.extend(request.text for unit in units for request in unit.requests)
        await both_came.wait()
        raise RedisConnectionError

    monkeypatch.setattr(accepting, "_accept_patiently", unreachable)
    calls = []
    for text in ("first", "second"):
        unit = Unit((Request(id=_some_id(), text=text),))
        calls.append(asyncio.create_task(accepting.accept(SENTIMENT, unit, 100)))
        await eventually(lambda: _is(tried), "the first is tried")
    await asyncio.sleep(0)  # the second waits for the next call
    both_came.set()
    refused = await asyncio.gather(*calls, return_exceptions=True)
    assert [problem.code for problem in refused] == ["broker_unavailable"] * 2
    assert tried == ["first"]


async def test_an_open_call_survives_a_restart_of_redis(own_server, own_settings):
    async with running_stack(own_settings) as (gateway, worker):
        worker.holding.clear()
        call = asyncio.create_task(gateway.client.post("/predict", json={"text": "a"}))
        await eventually(lambda: _is(worker.seen), "the request is read")
        own_server.stop()
        own_server.start()
        worker.holding.set()
        assert (await call).status_code == 200


async def test_an_answer_that_misses_the_reply_stream_is_found_in_the_store(stack, redis):
    gateway, worker = stack
    await gateway.client.post("/predict", json={"text": "a"})
    worker.holding.clear()
    call = asyncio.create_task(gateway.client.post("/predict", json={"text": "b"}))
    await eventually(lambda: _is(len(worker.seen) == 2), "the request is read")
    future_id = f"{int(time.time() * 1000) + 3_600_000}-0"  # the next reply's id follows this one
    reply_to = worker.seen[1].reply_to
    await redis.xadd(SENTIMENT.replies(reply_to), {"id": "other", "answer": "other"}, id=future_id)
    await redis.delete(SENTIMENT.replies(reply_to))
    worker.holding.set()
    assert (await call).status_code == 200


async def test_an_emptied_redis_ends_open_calls_and_serves_new_ones(stack, redis):
    gateway, worker = stack
    worker.holding.clear()
    call = asyncio.create_task(gateway.client.post("/predict", json={"text": "a"}))
    await eventually(lambda: _is(worker.seen), "the request is read")
    await redis.flushall()
    lost = await call
    assert (lost.status_code, lost.json()["code"]) == (503, "broker_unavailable")
    assert lost.json()["id"] == worker.seen[0].id
    worker.holding.set()
    await eventually(lambda: _answers(gateway.client), "calls work again", 10)


async def _batch_that_meets_flushall(stack, redis, answered=()):
    """What a caller of three texts is told when the log is emptied meanwhile, and those of *answered* are not lost."""
    gateway, worker = stack
    worker.holding.clear()
    call = asyncio.create_task(gateway.client.post("/predict", json={"texts": ["a", "b", "c"]}))
    await eventually(lambda: _is(len(worker.seen) == 3), "the requests are read")
    answers = {one.id: orjson.dumps({"id": one.id}) for one in worker.seen if one.text in answered}
    await redis.flushall()
    reply_to = worker.seen[0].reply_to
    for prediction_id, answer in answers.items():
        await redis.xadd(SENTIMENT.replies(reply_to), {"id": prediction_id, "answer": answer})
    told = await call
    worker.holding.set()
    return told, [one.id for one in sorted(worker.seen[:3], key=lambda one: one.text)]


async def test_a_batch_that_is_lost_with_the_log_is_one_503_that_says_when_to_try_again(stack, redis):
    lost, ids = await _batch_that_meets_flushall(stack, redis)
    assert (lost.status_code, lost.json()["code"], lost.json()["ids"]) == (503, "broker_unavailable", ids)
    assert 1 <= int(lost.headers["Retry-After"]) <= 5


async def test_a_batch_that_is_lost_in_part_says_so_in_its_status(stack, redis):
    told, ids = await _batch_that_meets_flushall(stack, redis, answered=("b",))
    assert told.status_code == 207
    assert 1 <= int(told.headers["Retry-After"]) <= 5
    lost = {"code": "broker_unavailable", "status": 503}
    assert told.json() == {
        "predictions": [{"id": ids[0], "error": lost}, {"id": ids[1]}, {"id": ids[2], "error": lost}]
    }


@pytest.mark.parametrize(
    "change",
    [("maxmemory-policy", "allkeys-lru", "noeviction", "evicts"), ("appendonly", "no", "yes", "forgets")],
)
async def test_a_server_that_is_configured_anew_while_it_runs_is_noticed(own_server, monkeypatch, caplog, change):
    option, value, right, weakness = change
    monkeypatch.setattr(fleet, "EXAMINE_S", 0.0)
    settings = GatewaySettings(redis_url=own_server.url, redis_password_file=None, gateway_drain_s=0)
    async with running_stack(settings) as (gateway, worker):

        async def unsafe(wanted):
            numbers = (await gateway.client.get("/metrics")).text
            return f'observa_gateway_broker_unsafe{{weakness="{weakness}"}} {wanted}' in numbers

        assert await unsafe(0.0)
        await worker.redis.config_set(option, value)
        await eventually(lambda: unsafe(1.0), "it is noticed")
        await worker.redis.config_set(option, right)
        await eventually(lambda: unsafe(0.0), "it is over")
    assert caplog.text.count(f"CONFIG SET {option} {right}") == 1  # not once a minute


async def test_a_key_of_another_type_is_not_a_server_error(gateway, redis):
    await redis.delete(SENTIMENT.backlog)
    await redis.hset(SENTIMENT.backlog, "a", "b")
    answer = await gateway.client.post("/predict", json={"text": "a"})
    assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")


@pytest.fixture
def process(server: RedisServer) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m gateway` as a person starts it."""
    port = free_port()
    started = subprocess.Popen([sys.executable, "-m", "gateway"], cwd=ROOT, env=_env(server, port), stderr=-1)
    started.port = port  # type: ignore[attr-defined]
    yield started
    started.kill()
    started.communicate()


async def test_a_signal_lets_open_calls_finish_and_no_text_is_logged(process, server):
    url = f"http://127.0.0.1:{process.port}"
    settings = GatewaySettings(redis_url=server.url, redis_password_file=None)
    async with running_worker(EchoWorker(settings)) as worker, httpx.AsyncClient(base_url=url) as client:
        await eventually(lambda: _status(client, "/readyz", 200), "the gateway is ready")
        worker.holding.clear()
        call = asyncio.create_task(client.post("/predict", json={"text": "c4n4ry"}))
        await client.post("/predict", json={"text": "c4n4ry", "c4n4ry": "c4n4ry"})
        await client.get("/c4n4ry", params={"c4n4ry": "c4n4ry"})
        await eventually(lambda: _is(worker.seen), "the request is read")
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: _status(client, "/readyz", 503), "it is not ready any more")
        worker.holding.set()
        assert (await call).status_code == 200
    log = (await asyncio.to_thread(process.communicate, timeout=15))[1]
    assert process.returncode == 0
    assert b"c4n4ry" not in log
    assert all(line.startswith(b'{"at"') for line in log.splitlines())


def test_a_port_in_use_is_one_line_and_exit_2(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = _run(_env(server, port))
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"observa gateway: cannot listen on 127.0.0.1 port {port}".encode())
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"OBSERVA_REDIS_URL": "redis://127.0.0.1:1/0", "OBSERVA_REDIS_WAIT_S": "0"},
        {"OBSERVA_REDIS_URL": "http://x"},
        {"OBSERVA_SHARDS": "none"},
    ],
)
def test_a_start_that_cannot_work_is_one_line_and_exit_2(server, changes):
    ended = _run(_env(server, free_port()) | changes)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"observa gateway: ")
    assert len(ended.stderr.splitlines()) == 1


def _env(server: RedisServer, port: int) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "OBSERVA_REDIS_URL": server.url, "OBSERVA_GATEWAY_PORT": str(port)}


def _run(env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "gateway"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=20, check=False)


def _tensor() -> dict[str, object]:
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}


def _some_id() -> str:
    return str(PredictionId.new(SENTIMENT))


async def _answers(client: httpx.AsyncClient) -> bool:
    return bool((await client.post("/predict", json={"text": "a"})).status_code == 200)


async def _status(client: httpx.AsyncClient, path: str, status: int) -> bool:
    try:
        return bool((await client.get(path)).status_code == status)
    except httpx.TransportError:
        return False


async def _is(value: object) -> bool:
    return bool(value)
