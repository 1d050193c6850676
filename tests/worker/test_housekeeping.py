import pytest

from broker.announcements import announcements
from broker.manifest import Pointer
from broker.streams import WORKERS, Tag, versions_key
from broker.versions import mirror, mirror_newer, wanted
from tests.servers import eventually
from tests.worker.builders import TAG, fields, served, working, write_model


async def announced(redis, condition):
    async def found():
        return [each for each in await announcements(redis, "toy") if condition(each)]

    await eventually(found, "an announcement")
    return (await found())[0]


async def test_a_worker_says_what_it_serves_and_when_it_leaves(server, redis):
    async with working(server, served("1", "2", threshold=0.5)) as worker:
        said = await announced(redis, lambda each: each.worker == worker.name)
        assert (said.live, said.texts_per_second, said.leaving) == ("1", 100, False)
        assert said.versions["2"].labels == ("negative", "positive")
        assert said.versions["2"].max_length == 8
    assert (await announced(redis, lambda each: each.worker == worker.name)).leaving


async def test_an_empty_redis_learns_what_the_pointer_wants_and_a_newer_one_keeps_its_own(server, redis, tmp_path):
    write_model(tmp_path)

    async def live():
        return await redis.hget(versions_key("toy"), "live")

    async with working(server, models=tmp_path):
        await eventually(live, "the pointer is mirrored")
    assert await live() == b"1"
    await mirror(redis, "toy", Pointer(version="7", generation=7))
    async with working(server, models=tmp_path) as worker:
        await announced(redis, lambda each: each.worker == worker.name and each.generation == 1)
    assert await live() == b"7"


async def test_a_promotion_that_comes_while_a_worker_looks_is_not_written_over_by_the_pointer_it_read(redis):
    newer = Pointer(version="2", generation=2)
    reads = redis.hgetall

    async def read_just_before_the_promotion(key):
        found = await reads(key)
        assert await mirror(redis, "toy", newer)
        return found

    redis.hgetall = read_just_before_the_promotion
    await mirror_newer(redis, "toy", Pointer(version="1", generation=1))
    redis.hgetall = reads
    assert await wanted(redis, "toy") == newer


@pytest.mark.parametrize(
    "written",
    [
        {"live": "1", "generation": "many"},
        {"live": "1", b"\xff": b"\xfe"},
        {"live": "9", "generation": "99", "canary": "2"},  # of no share
    ],
)
async def test_what_somebody_wrote_in_place_of_the_pointer_is_put_right(server, redis, tmp_path, written):
    write_model(tmp_path)
    await redis.hset(versions_key("toy"), mapping=written)

    async def right():
        return await wanted(redis, "toy") == Pointer(version="1", generation=1)

    async with working(server, models=tmp_path):
        await eventually(right, "the pointer is mirrored")


async def test_texts_of_a_model_that_nobody_serves_any_more_go_when_their_hour_has_come(server, redis, monkeypatch):
    monkeypatch.setattr("worker.housekeeping.UNSERVED_S", 0.1)
    gone, damaged = Tag("gone", 1), Tag("a-damaged-one")
    await redis.set(damaged.requests, "not a stream")
    await redis.set(damaged.born, "x")
    await redis.xgroup_create(gone.requests, WORKERS, mkstream=True)
    await redis.xadd(gone.requests, fields("an old text"), id="1000-0")
    kept = await redis.xadd(gone.requests, fields("of today"))
    [(_, read)] = await redis.xreadgroup(WORKERS, "w", {gone.requests: ">"})
    await redis.xack(gone.requests, WORKERS, *(entry_id for entry_id, _ in read))
    async with working(server):

        async def tidied():
            return [entry_id for entry_id, _ in await redis.xrange(gone.requests)] == [kept]

        await eventually(tidied, "what is old has gone")


async def test_the_worker_keeps_house(server, redis):
    await redis.set(TAG.backlog, 1000)
    async with working(server):

        async def reconciled():
            return await redis.get(TAG.backlog) == b"0"

        await eventually(reconciled, "the backlog is what Redis knows")
