"""What one caller may ask of one gateway, and what browsers and their pages get."""

import asyncio
from contextlib import AsyncExitStack, suppress

import httpx
import pytest

from broker.access import create_key
from broker.events import DeadLetter
from broker.streams import PredictionId, Tag
from gateway.limits import ASKED, Limits
from gateway.problems import Problem
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


@pytest.mark.parametrize("limited", [{}], indirect=True)
async def test_a_gateway_tells_the_others_what_is_asked_of_it_and_forgets_those_that_are_gone(limited, redis):
    send, _, (anna, _, _) = limited
    await redis.hset(ASKED, mapping={"gone anna": "1000 90 0", "nonsense": "x"})
    assert (await send(anna)).status_code == 200

    async def only_this_one() -> bool:
        return [who.split()[1] for who in await redis.hkeys(ASKED) if b" " in who] == [b"anna"]

    await eventually(only_this_one, "it is told, and what is old is gone", 5)


async def admitted(gateway: Limits, stack: AsyncExitStack, times: int) -> int:
    """How many of so many requests of anna, all open until the stack ends, are let in."""
    count = 0
    for _ in range(times):
        with suppress(Problem):
            await stack.enter_async_context(gateway.counting("anna"))
            count += 1
    return count


async def exchange(redis, gateways: list[Limits], second: int) -> None:
    for gateway in gateways:
        await gateway.exchange(redis, 1000 * second)


async def test_what_gateways_let_in_together_is_one_share_and_an_idle_one_leaves_its_part(redis):
    gateways, let_in = [Limits(100, 1000) for _ in range(3)], []
    for second, demand in enumerate([(100, 100, 100)] * 3 + [(0, 0, 100)] * 2):
        async with AsyncExitStack() as stack:
            let_in.append([await admitted(each, stack, times) for each, times in zip(gateways, demand, strict=True)])
            await exchange(redis, gateways, second)
        await asyncio.sleep(1)  # the buckets' own clock
    assert let_in[0] == [100, 100, 100]  # nobody has heard of the others yet
    assert 99 <= sum(let_in[2]) <= 115
    assert let_in[-1][2] == 100


async def test_open_requests_elsewhere_leave_less_room_here(redis):
    busy, free = gateways = [Limits(1000, 30), Limits(1000, 30)]
    async with AsyncExitStack() as stack:
        assert await admitted(busy, stack, 20) == 20
        async with AsyncExitStack() as soon_over:
            assert await admitted(free, soon_over, 1) == 1
        await exchange(redis, gateways, 1)
        assert await admitted(free, stack, 30) == 10


@pytest.mark.parametrize(("silent_s", "left"), [(4, 10), (6, 30)])
async def test_a_gateway_that_is_gone_takes_nothing_from_the_others_after_five_seconds(redis, silent_s, left):
    gone, here = gateways = [Limits(1000, 30), Limits(1000, 30)]
    async with AsyncExitStack() as stack:
        await admitted(gone, stack, 20)
        await admitted(here, stack, 1)
        await exchange(redis, gateways, 1)
        await stack.aclose()
        await admitted(here, stack, 1)
        await exchange(redis, [here], 1 + silent_s)
        assert await admitted(here, stack, 40) + 1 == left


async def test_a_gateway_says_once_that_a_caller_asks_no_more_and_then_nothing_of_it(redis):
    limits, told = Limits(100, 10), []
    async with limits.counting("anna"):
        pass
    for second in (1, 2, 3):
        await limits.exchange(redis, 1000 * second)
        told += await redis.hvals(ASKED)
    assert told == [b"1000 1 0", b"2000 0 0", b"2000 0 0"]


async def test_a_share_is_divided_by_what_is_asked_and_not_by_what_was_let_in(redis):
    gateways = [Limits(100, 1000), Limits(100, 1000)]
    async with AsyncExitStack() as stack:
        for second in (1, 2):  # the first to tell has heard of no other
            for each, asked in zip(gateways, (300, 100), strict=True):
                await admitted(each, stack, asked)
            await exchange(redis, gateways, second)
    assert [each._parts["anna"].requests for each in gateways] == [75, 25]


async def test_a_page_of_another_site_is_given_no_leave(client):
    asking = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        await client.options("/predict", headers=asking),
        await client.post("/predict", json={"text": "a joy"}, headers=asking),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert (await client.options("/predict", headers=asking)).status_code == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("attacker.example", 421),
        ("127.0.0.1.attacker.example", 421),
        ("", 421),
        ("[::2]", 421),
        ("localhost@attacker", 400),  # no name at all
    ],
)
async def test_a_name_that_was_bound_to_loopback_by_somebody_else_is_refused(gateway, host, status):
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"GET /v1/models HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
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
