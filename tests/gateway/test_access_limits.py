"""What one caller may ask of one gateway, and what browsers and their pages get."""

import asyncio

import httpx
import pytest

from broker.access import create_key
from broker.events import DeadLetter
from broker.streams import PredictionId, Tag
from tests.gateway.stack import running_stack
from tests.servers import eventually

TAG = Tag("sentiment")


@pytest.fixture
async def limited(redis, gateway_settings, request):
    """A gateway with the shares that the test names, its worker, and the keys of two callers."""
    _, anna = await create_key(redis, "anna", ["predict"], None)
    _, anna_too = await create_key(redis, "anna", ["predict"], None)
    _, bob = await create_key(redis, "bob", ["predict"], None)
    async with running_stack(gateway_settings(gateway_auth="keys", **request.param)) as (gateway, worker):

        def send(shown):
            headers = {"Authorization": f"Bearer {shown}"}
            return gateway.client.post("/predict", json={"text": "a joy"}, headers=headers)

        yield send, worker, (anna, anna_too, bob)


@pytest.mark.parametrize("limited", [{"gateway_key_requests_per_second": 5}], indirect=True)
async def test_a_caller_past_its_rate_is_told_when_to_come_again_and_others_are_served(limited):
    send, _, (anna, anna_too, bob) = limited
    answers = await asyncio.gather(*(send(anna if n % 2 else anna_too) for n in range(60)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert refused[0].json()["code"] == "rate_limited"
    assert int(refused[0].headers["Retry-After"]) in {1, 2}
    assert (await send(bob)).status_code == 200
    await eventually(lambda: _served(send(anna)), "the share grows again", 5)


async def _served(sending):
    return (await sending).status_code == 200


@pytest.mark.parametrize("limited", [{"gateway_key_open_requests": 4}], indirect=True)
async def test_a_caller_with_too_many_open_requests_is_refused_until_some_are_answered(limited):
    send, worker, (anna, _, bob) = limited
    worker.holding.clear()
    waiting = [asyncio.create_task(send(anna)) for _ in range(4)]
    await eventually(lambda: asyncio.sleep(0, len(worker.seen) == 4), "four are open")
    refused = await send(anna)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_open_requests")
    assert "Retry-After" in refused.headers
    other = asyncio.create_task(send(bob))
    worker.holding.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting, other)} == {200}
    assert (await send(anna)).status_code == 200


async def test_a_page_of_another_site_is_given_no_leave(client):
    asking = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        await client.options("/predict", headers=asking),
        await client.post("/predict", json={"text": "a joy"}, headers=asking),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert (await client.options("/predict", headers=asking)).status_code == 405


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example", "", "localhost@attacker", "[::2]"])
async def test_a_name_that_was_bound_to_loopback_by_somebody_else_is_refused(gateway, host):
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"GET /v1/models HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert b"attacker" not in answer


async def test_named_hosts_are_answered_and_no_others(gateway_settings):
    settings = gateway_settings(gateway_allowed_hosts="api.example, Other.example")
    async with running_stack(settings) as (gateway, _):
        wanted = {"api.example": 200, "API.example:8000": 200, "other.example": 200, "localhost": 421}
        for host, status in wanted.items():
            assert (await gateway.client.get("/healthz", headers={"Host": host})).status_code == status


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/nothing", "/predict", "/metrics"])
async def test_every_answer_carries_the_security_headers(client, path):
    headers = (await client.get(path)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "server" not in headers


async def bury(client: httpx.AsyncClient, redis, worker) -> tuple[str, str]:
    """Make a dead letter by hand, as the settle script leaves one; return its entry id and prediction id."""
    ident = str(PredictionId.new(TAG))
    fields = {
        "schema_version": "1",
        "id": ident,
        "entry_id": "1-1",
        "reason": "crashed",
        "detail": "",
        "deliveries": "3",
    }
    entry = f'["id","{ident}","text","a joy"]'
    dead = await redis.xadd(TAG.dead, {**fields, "worker": worker.name, "entry": entry})
    assert DeadLetter.from_fields((await redis.xrange(TAG.dead))[0][1]).id == ident
    assert (await client.get(f"/v1/predictions/{ident}")).status_code == 404
    return dead.decode(), ident


@pytest.mark.parametrize("named", ["{}", "sentiment.0.{}"])
async def test_a_dead_letter_is_sent_again_and_answered(client, worker, redis, named):
    dead, ident = await bury(client, redis, worker)
    answer = await client.post(f"/v1/dead/{named.format(dead)}/redrive", json={})
    assert (answer.status_code, answer.json()["status"]) == (202, "redriven")
    await eventually(lambda: _found(client, ident), "it is answered")
    again = await client.post(f"/v1/dead/{dead}/redrive", json={})
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def _found(client, ident):
    return (await client.get(f"/v1/predictions/{ident}")).status_code == 200


@pytest.mark.parametrize("dead", ["x", "1-1", "1", "other.0.1-1", "sentiment.0.x", "sentiment.0.1-1", "9" * 15 + "-1"])
async def test_what_is_no_dead_letter_cannot_be_sent_again(client, dead):
    assert (await client.post(f"/v1/dead/{dead}/redrive", json={})).status_code == 404


async def test_a_dead_letter_with_an_id_written_by_hand_is_not_sent_again(client, redis):
    dead = await redis.xadd(TAG.dead, {"id": "by hand", "entry": '["text","x"]'})
    assert (await client.post(f"/v1/dead/{dead.decode()}/redrive", json={})).status_code == 404


async def test_a_form_of_another_site_cannot_send_a_dead_letter_again(client, worker, redis):
    dead, _ = await bury(client, redis, worker)
    answer = await client.post(f"/v1/dead/{dead}/redrive", data={"a": "b"})
    assert answer.status_code == 415
    assert (await client.post(f"/v1/dead/{dead}/redrive")).status_code == 415
    assert await redis.xlen(TAG.dead) == 1
