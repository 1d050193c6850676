import asyncio
import time

import pytest
from faststream.redis import StreamSub
from redis.asyncio import Redis

from broker.log import Log
from broker.streams import CHANGES, PredictionId, Tag
from tests.servers import eventually
from tests.worker.builders import TAG, dead_letters, fields, old_entry, pending, results, served, working
from worker.bus import ControlBus
from worker.settings import WorkerSettings

OTHER = Tag("other")
READ_MS = 100  # that a read waits for entries, in these tests


async def answered(redis, count, tag=TAG):
    await eventually(lambda: _has(redis, count, tag), f"{count} results of {tag}")
    return await results(redis, tag)


async def _has(redis, count, tag):
    return await redis.xlen(tag.results) >= count


async def calls(redis, *commands):
    statistics = await redis.info("commandstats")
    return sum(statistics.get(f"cmdstat_{command}", {}).get("calls", 0) for command in commands)


async def test_a_message_from_before_the_first_worker_is_answered(server, redis):
    await redis.xadd(TAG.requests, {"text": "an early, good film"})
    async with working(server):
        (result,) = await answered(redis, 1)
    assert (result["label"], result["status"], result["deliveries"]) == ("positive", "ok", "1")
    assert not await pending(redis)


async def test_hundred_messages_are_answered_once_each_in_batches(server, redis):
    models = served()
    sent = [fields(f"film {n}") for n in range(100)]
    for each in sent:
        await redis.xadd(TAG.requests, each)
    async with working(server, models, worker_batch=16):
        found = await answered(redis, 100)
    assert sorted(result["id"] for result in found) == sorted(each["id"] for each in sent)
    assert max(len(batch) for batch in models.versions["1"].model.asked) == 16


@pytest.mark.parametrize("wrong_s", [-600, 600])
async def test_deadlines_and_waits_are_measured_on_redis_clock_when_the_machines_is_wrong(
    server, redis, monkeypatch, wrong_s
):
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + wrong_s)
    async with working(server) as worker:
        await worker.announce(TAG.model)
        seconds, _ = await redis.time()
        await redis.xadd(TAG.requests, fields(deadline_ms=30_000), id=f"{seconds - 31}000-0")
        await redis.xadd(TAG.requests, fields(deadline_ms=30_000))
        late, fresh = await answered(redis, 2)
    assert (late["status"], late["code"]) == ("error", "deadline_exceeded")
    assert (fresh["status"], float(fresh["queue_ms"]) < 30_000) == ("ok", True)


async def test_every_shard_is_read(server, redis):
    tags = [Tag("toy", shard) for shard in range(3)]
    for tag in tags:
        await redis.xadd(tag.requests, fields(tag=tag))
    async with working(server, shards=3):
        for tag in tags:
            await answered(redis, 1, tag)


async def test_after_flushall_new_messages_are_answered(server, redis):
    async with working(server) as worker:
        await redis.xadd(TAG.requests, fields("before"))
        await answered(redis, 1)
        await redis.flushall()
        await redis.xadd(TAG.requests, fields("after"))
        (result,) = await answered(redis, 1)
        assert result["characters"] == "5"
        await redis.xadd(TAG.requests, fields("and again"))
        await answered(redis, 2)
        assert worker.silent() == []


async def test_what_cannot_be_read_is_buried_once_although_the_group_is_lost(server, redis):
    async with working(server):
        for value in ("a", "b"):
            await redis.xadd(TAG.requests, {"nonsense": value})
        await eventually(lambda: _buried(redis, 2), "both are buried")
        await redis.xgroup_destroy(TAG.requests, "workers")
        await redis.xadd(TAG.requests, {"nonsense": "c"})
        await redis.xadd(TAG.requests, fields("after"))
        await answered(redis, 1)
        await eventually(lambda: _buried(redis, 3), "the third is buried")
        assert len({letter["entry_id"] for letter in await dead_letters(redis)}) == 3
    assert not await pending(redis)


async def _buried(redis, count):
    return await redis.xlen(TAG.dead) == count


async def test_a_deleted_stream_stops_no_other(server, redis):
    async with working(server, served(), served(name="other")):
        for tag in (TAG, OTHER):
            await redis.xadd(tag.requests, fields(tag=tag))
            await answered(redis, 1, tag)
        await redis.delete(TAG.requests)
        await redis.xadd(OTHER.requests, fields(tag=OTHER))
        await answered(redis, 2, OTHER)
        await redis.xadd(TAG.requests, fields())
        await answered(redis, 2)


async def test_entries_that_cannot_be_read_become_dead_letters_and_the_rest_is_answered(server, redis):
    await redis.xadd(TAG.requests, {"text": b"\xff\x00\xfe"})
    await redis.xadd(TAG.requests, {f"field{n}": "x" for n in range(1000)})
    await redis.xadd(TAG.requests, {"nonsense": "1"})
    await redis.xadd(TAG.requests, fields("good"))
    async with working(server):
        (result,) = await answered(redis, 1)
        assert result["status"] == "ok"
        await eventually(lambda: _dead(redis, 3), "three dead letters")
    assert [letter["reason"] for letter in await dead_letters(redis)] == ["malformed"] * 3
    assert not await pending(redis)


async def _dead(redis, count):
    return await redis.xlen(TAG.dead) >= count


async def test_an_entry_of_a_newer_schema_waits_for_a_newer_worker(server, redis):
    newer = (await redis.xadd(TAG.requests, {"text": "x", "schema_version": "2"})).decode()
    await redis.xadd(TAG.requests, fields("good"))
    async with working(server, claim_ms=200, max_deliveries=1):
        await answered(redis, 1)
        listed = await calls(redis, "xpending")
        await eventually(lambda: _more(redis, listed + 5, "xpending"), "the claimer has looked several times")
    assert await pending(redis) == {newer: 1}
    assert await dead_letters(redis) == []


async def _more(redis, count, *commands):
    return await calls(redis, *commands) > count


async def test_a_raising_text_is_answered_and_kept_as_a_dead_letter(server, redis):
    bad = fields("RAISE this")
    await redis.xadd(TAG.requests, fields("good"))
    await redis.xadd(TAG.requests, bad)
    await redis.xadd(TAG.requests, fields("bad"))
    async with working(server):
        found = await answered(redis, 3)
    assert [result["code"] for result in found if result["status"] == "error"] == ["inference_failed"]
    (letter,) = await dead_letters(redis)
    assert (letter["id"], letter["reason"]) == (bad["id"], "inference_failed")


async def test_an_old_entry_that_was_answered_is_acknowledged_without_inference(server, redis):
    models = served()
    known, unknown = fields("known"), fields("unknown")
    prediction_id = PredictionId.parse(known["id"])
    await redis.hset(prediction_id.answers_key, known["id"], b"{}")
    await redis.xadd(TAG.requests, known, id=old_entry(8000))
    await redis.xadd(TAG.requests, unknown, id=old_entry(7000))
    async with working(server, models):
        (result,) = await answered(redis, 1)
    assert result["id"] == unknown["id"]
    assert models.versions["1"].model.asked == [["unknown"]]
    assert not await pending(redis)


async def test_after_the_group_was_lost_answered_entries_are_not_inferred_again(server, redis):
    models = served()
    async with working(server, models):
        for n in range(3):
            await redis.xadd(TAG.requests, fields(f"film {n}"))
        await answered(redis, 3)
        await redis.xgroup_destroy(TAG.requests, "workers")
        await redis.xadd(TAG.requests, fields("new"))
        await answered(redis, 4)
    assert sorted(text for batch in models.versions["1"].model.asked for text in batch) == [
        "film 0",
        "film 1",
        "film 2",
        "new",
    ]


@pytest.mark.parametrize("which", ["answers", "results"])
async def test_a_key_of_another_type_holds_entries_back_without_a_hot_loop(server, redis, caplog, monkeypatch, which):
    tries, settle = [], Log.settle

    async def settle_counted(self, tag, settlements):
        tries.append(tag)
        return await settle(self, tag, settlements)

    monkeypatch.setattr(Log, "settle", settle_counted)
    sent = fields()
    key = PredictionId.parse(sent["id"]).answers_key if which == "answers" else TAG.results
    await redis.set(key, "foreign")
    async with working(server):
        await redis.xadd(TAG.requests, sent)
        await eventually(lambda: asyncio.sleep(0, len(tries) >= 3), "some tries to settle")
        tried, read = len(tries), await calls(redis, "xreadgroup")
        await asyncio.sleep(1.5)
        assert len(tries) - tried < 10
        assert await calls(redis, "xreadgroup") - read <= 1500 / READ_MS + 1
        assert len(await pending(redis)) == 1
        await redis.delete(key)
        await answered(redis, 1)
    said = [record.getMessage() for record in caplog.records if "settling waits" in record.getMessage()]
    assert len(said) == 1
    assert f"just redis DEL '{key}'" in said[0]


async def test_a_foreign_key_in_the_requests_place_is_named_and_waited_for(server, redis, caplog):
    await redis.set(TAG.requests, "foreign")
    async with working(server) as worker:
        await eventually(lambda: _more(redis, 3, "xgroup|create"), "some tries to begin")
        before = await calls(redis, "xgroup|create", "xreadgroup")
        await asyncio.sleep(1.5)
        assert await calls(redis, "xgroup|create", "xreadgroup") - before < 10
        assert worker.silent() == [TAG.requests]
        await redis.delete(TAG.requests)
        await redis.xadd(TAG.requests, fields())
        await answered(redis, 1)
        assert worker.silent() == []
    assert f"just redis DEL '{TAG.requests}'" in caplog.text


async def test_a_server_that_became_a_replica_is_waited_for_without_a_hot_loop(own_server):
    async with Redis(port=own_server.port) as redis, working(own_server):
        await redis.xadd(TAG.requests, fields())
        await answered(redis, 1)
        await redis.replicaof("127.0.0.1", "1")
        before = await calls(redis, "xreadgroup", "xgroup|create")
        await asyncio.sleep(1.5)
        assert await calls(redis, "xreadgroup", "xgroup|create") - before < 25
        await redis.replicaof("NO", "ONE")
        await redis.xadd(TAG.requests, fields())
        await answered(redis, 2)


async def test_a_foreign_key_in_the_control_streams_place_makes_no_hot_loop(server, redis):
    await redis.set(CHANGES, "foreign")
    heard = []
    bus = ControlBus(WorkerSettings(redis_url=server.url, redis_password_file=None))

    @bus.subscriber(stream=StreamSub(CHANGES, polling_interval=100))
    async def hear(change: object) -> None:
        heard.append(change)

    async with bus:
        await bus.start()
        await asyncio.sleep(1)
        assert await calls(redis, "xread") < 15
        await redis.delete(CHANGES)

        async def again():
            await redis.xadd(CHANGES, {"model": "toy"})
            return heard

        await eventually(again, "a change is heard")
    assert heard[0] == {"model": "toy"}


async def test_what_is_held_while_the_server_restarts_is_answered_afterwards(own_server):
    models = served()
    toy = models.versions["1"].model
    async with Redis(port=own_server.port) as redis, working(own_server, models) as worker:
        # everysec puts a write off while the disk is busy with the fsync before it, and this kill comes at once.
        await redis.config_set("appendfsync", "always")
        await redis.xadd(TAG.requests, fields("WAIT"))
        await asyncio.to_thread(toy.waits.wait, 10)
        own_server.kill()
        toy.gate.set()
        await asyncio.sleep(0.2)
        own_server.start()
        (result,) = await answered(redis, 1)
        assert (result["status"], result["deliveries"]) == ("ok", "1")
        await eventually(lambda: _well(worker), "the worker reads again")
    assert toy.asked == [["WAIT"]]


async def _well(worker):
    return worker.silent() == []
