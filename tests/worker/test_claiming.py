import asyncio

import pytest

from broker.answers import PENDING
from broker.groups import ensure_groups
from broker.streams import PredictionId
from tests.servers import eventually
from tests.worker.builders import TAG, dead_letters, fields, pending, results, served, working

IDLE_MS = 120_000  # longer than the claim time of these workers, so that no slow machine makes what they hold idle


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr("worker.claiming.LOOK_MS", 100)


async def left_behind(redis, *entries, deliveries=1, deaths=0):
    """Entries that workers took *deliveries* times and kept when they died; *deaths* of them ran one alone."""
    await ensure_groups(redis, TAG)
    for entry in entries:
        await redis.xadd(TAG.requests, entry)
    read = await redis.xreadgroup("workers", "dead-worker", {TAG.requests: ">"})
    ids = [entry_id for entry_id, _ in read[0][1]]
    await redis.xclaim(TAG.requests, "workers", "dead-worker", 0, ids, idle=IDLE_MS, retrycount=deliveries, justid=True)
    for entry_id in ids if deaths else ():
        await redis.sadd(TAG.suspects(entry_id.decode()), *(f"dead-{n}" for n in range(deaths)))


async def answered(redis, count):
    async def enough():
        return await redis.xlen(TAG.results) >= count

    await eventually(enough, f"{count} results")
    return await results(redis)


async def test_what_a_dead_worker_left_is_answered_one_at_a_time(server, redis):
    models = served()
    await left_behind(redis, *(fields(f"film {n}") for n in range(20)))
    async with working(server, models):
        found = await answered(redis, 20)
    assert {result["deliveries"] for result in found} == {"2"}
    assert sorted(map(len, models.versions["1"].model.asked)) == [1] * 20
    assert not await pending(redis)


async def test_an_entry_whose_workers_died_in_company_is_tried_again(server, redis):
    await left_behind(redis, fields("good"), deliveries=9, deaths=1)
    async with working(server):
        (result,) = await answered(redis, 1)
    assert (result["status"], result["deliveries"]) == ("ok", "10")


async def test_an_entry_that_was_delivered_far_too_often_is_given_up_whoever_is_to_blame(server, redis):
    await left_behind(redis, fields("good"), deliveries=30)
    async with working(server):
        await answered(redis, 1)
    assert [letter["reason"] for letter in await dead_letters(redis)] == ["crashed"]


async def test_a_worker_that_survives_an_entry_leaves_no_mark_of_it(server, redis):
    await left_behind(redis, fields("good"), fields("RAISE"))
    async with working(server):
        await answered(redis, 2)
    assert await redis.keys("observa:*:suspects:*") == []


async def test_a_worker_that_starts_on_a_full_server_answers_what_waits(server, redis):
    await ensure_groups(redis, TAG)
    await redis.xadd(TAG.requests, fields("good"))
    await redis.config_set("maxmemory", 1)
    try:
        async with working(server):
            await answered(redis, 1)
            await eventually(lambda: nothing_pending(redis), "it is acknowledged")
    finally:
        await redis.config_set("maxmemory", 0)


async def test_a_full_server_hinders_no_takeover(server, redis):
    await left_behind(redis, fields("good"))
    await redis.config_set("maxmemory", 1)
    try:
        async with working(server):
            await eventually(lambda: nothing_pending(redis), "it is answered")
    finally:
        await redis.config_set("maxmemory", 0)
    assert [result["status"] for result in await results(redis)] == ["ok"]


async def nothing_pending(redis):
    return not await pending(redis)


async def test_after_enough_deliveries_an_entry_is_given_up_and_its_caller_told(server, redis):
    models, poison = served(), fields("poison", reply_to="gateway")
    await redis.hset(PredictionId.parse(poison["id"]).answers_key, poison["id"], PENDING)
    await left_behind(redis, poison, deliveries=3, deaths=2)
    async with working(server, models):
        (result,) = await answered(redis, 1)
    assert (result["status"], result["code"], result["deliveries"]) == ("error", "inference_failed", "3")
    (letter,) = await dead_letters(redis)
    assert (letter["reason"], letter["deliveries"], letter["id"]) == ("crashed", "3", poison["id"])
    assert models.versions["1"].model.asked == []
    assert len(await redis.xrange(TAG.replies("gateway"))) == 1
    assert not await pending(redis)


async def test_one_delivery_before_the_last_is_still_tried(server, redis):
    await left_behind(redis, fields("good"), deliveries=2, deaths=2)
    async with working(server):
        (result,) = await answered(redis, 1)
    assert (result["status"], result["deliveries"]) == ("ok", "3")


async def test_a_malformed_entry_left_behind_becomes_a_dead_letter(server, redis):
    await left_behind(redis, {"nonsense": "1"}, deliveries=2)
    async with working(server):
        await eventually(lambda: redis.xlen(TAG.dead), "a dead letter")
    assert [letter["reason"] for letter in await dead_letters(redis)] == ["malformed"]


async def test_newer_entries_left_behind_use_up_no_delivery_and_hide_no_other(server, redis):
    newer = [{"text": "x", "schema_version": "2"}] * 120
    await left_behind(redis, *newer, fields("good"))  # one page of idle entries does not reach the good one
    async with working(server):
        await answered(redis, 1)
    assert list((await pending(redis)).values()) == [1] * 120


async def test_a_slow_batch_is_not_taken_over(server, redis):
    models, rival = served(), served()
    toy = models.versions["1"].model
    async with working(server, models, claim_ms=200):
        await redis.xadd(TAG.requests, fields("WAIT"))
        await asyncio.to_thread(toy.waits.wait, 10)
        async with working(server, rival, claim_ms=200):
            await asyncio.sleep(1)  # five claim times
            assert list((await pending(redis)).values()) == [1]
            toy.gate.set()
            (result,) = await answered(redis, 1)
    assert result["deliveries"] == "1"
    assert rival.versions["1"].model.asked == []


async def test_of_two_workers_one_takes_an_idle_entry(server, redis):
    first, second = served(), served()
    await left_behind(redis, *(fields(f"film {n}") for n in range(10)))
    async with working(server, first), working(server, second):
        await answered(redis, 10)
    asked = [text for models in (first, second) for batch in models.versions["1"].model.asked for text in batch]
    assert len(asked) == len(set(asked)) == 10
