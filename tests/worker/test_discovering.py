"""Models that come into the store while a worker runs."""

import asyncio

from broker.announcements import announcements
from broker.streams import Tag
from tests.servers import eventually
from tests.worker.builders import fields, results, working, write_model

LATER = Tag("later")


async def until_served(redis, worker):
    async def announced():
        await worker.announce("later")
        return [one.live for one in await announcements(redis, "later")] == ["1"]

    await eventually(announced, "the new model is announced")


async def test_a_model_that_comes_later_is_served_beside_the_others(server, redis, tmp_path):
    write_model(tmp_path)
    async with working(server, models=tmp_path, discovers=True) as worker:
        write_model(tmp_path, name="later")
        await until_served(redis, worker)
        sent = fields("a good film", tag=LATER)
        await redis.xadd(LATER.requests, sent)

        async def answered():
            return await results(redis, LATER)

        await eventually(answered, "a result")
        (result,) = await results(redis, LATER)
        assert (result["id"], result["label"], result["role"]) == (sent["id"], "positive", "live")
        await eventually(lambda: asyncio.sleep(0, not worker.silent()), "all streams are read")
    (said,) = await announcements(redis, "later")
    assert said.leaving


async def test_a_new_model_that_is_damaged_is_refused_and_taken_once_it_is_whole(server, redis, tmp_path, caplog):
    write_model(tmp_path)
    async with working(server, models=tmp_path, discovers=True) as worker:
        manifest = write_model(tmp_path, name="later") / "model.json"
        whole = manifest.read_text()
        manifest.write_text("{}")

        async def refused():
            await worker.announce("later")
            return "a new model is refused" in caplog.text

        await eventually(refused, "it says so")
        assert not await announcements(redis, "later")
        manifest.write_text(whole)
        await until_served(redis, worker)


async def test_a_worker_of_named_models_leaves_new_ones_to_others(server, redis, tmp_path):
    write_model(tmp_path)
    async with working(server, models=tmp_path) as worker:
        write_model(tmp_path, name="later")
        await worker.announce("later")
        assert worker._discovery is None
        assert not await announcements(redis, "later")
