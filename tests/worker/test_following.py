"""A worker and the pointer: what it holds, what it refuses, and when it changes over."""

import gc
import weakref

import pytest

from broker.announcements import announcements
from broker.changes import change
from broker.manifest import Canary, Pointer, live_version
from broker.store import Store
from tests.servers import eventually
from tests.worker.builders import TAG, Toy, fields, results, served, working, write_model
from worker.loading import Loading
from worker.metrics import REGISTRY
from worker.models import LOADERS
from worker.settings import WorkerSettings


class Broken(Toy):
    def __init__(self, _manifest, _files=None):
        raise RuntimeError("no such graph")


LOADERS["broken"] = Broken


@pytest.fixture
def store(tmp_path):
    for version in ("3", "2", "1"):
        write_model(tmp_path, version=version)
    write_model(tmp_path, version="bad", kind="broken")
    point(tmp_path, version="1")
    return tmp_path


def point(store, generation=1, **wanted):
    (store / "toy" / "live.json").write_text(Pointer(generation=generation, **wanted).model_dump_json())


def held(worker):
    return worker._followers["toy"].served


async def until_announced(redis, condition):
    async def found():
        return any(condition(each) for each in await announcements(redis, "toy"))

    await eventually(found, "an announcement")


async def test_a_change_is_served_at_once_and_what_is_no_longer_wanted_is_released(server, redis, store):
    async with working(server, models=store) as worker:
        before = weakref.ref(held(worker).versions["1"].model)
        changed = await change(
            Store(str(store)),
            redis,
            "toy",
            lambda pointer: pointer.model_copy(update={"version": "2", "canary": Canary(version="3", share=0.1)}),
        )
        assert changed.untold == ""
        await worker.announce("toy")
        await until_announced(redis, lambda each: each.live == "2" and set(each.versions) == {"2", "3"})
        assert (held(worker).live, held(worker).canary) == ("2", "3")
        await redis.xadd(TAG.requests, fields(version="1"))

        async def answered():
            return await results(redis)

        await eventually(answered, "a result")
        assert [(each["version"], each["role"]) for each in await answered()] == [("2", "live")]
        gc.collect()
        assert before() is None


async def test_a_pointer_that_nobody_announced_is_found_by_looking(server, redis, store):
    async with working(server, models=store):
        await until_announced(redis, lambda each: each.generation == 1)
        point(store, 2, version="2")
        await until_announced(redis, lambda each: each.live == "2")


async def test_a_version_that_cannot_be_loaded_is_refused_aloud_and_the_old_one_stays(server, redis, store):
    async with working(server, models=store) as worker:
        point(store, 2, version="bad", previous="1")
        await worker.announce("toy")
        await until_announced(redis, lambda each: "no such graph" in each.refused.get("bad", ""))
        assert held(worker).live == "1"
        refused = {"model": "toy", "version": "bad"}
        assert REGISTRY.get_sample_value("observa_model_refused", refused) == 1
        point(store, 3, version="2", previous="bad")
        await worker.announce("toy")
        await until_announced(redis, lambda each: each.live == "2" and not each.refused)
        assert REGISTRY.get_sample_value("observa_model_refused", refused) is None


async def test_a_canary_that_is_refused_is_answered_by_the_live_version(server, redis, store):
    async with working(server, models=store) as worker:
        point(store, 2, version="1", canary=Canary(version="bad", share=0.5))
        await worker.announce("toy")
        await until_announced(redis, lambda each: each.refused)
        await redis.xadd(TAG.requests, fields(version="bad"))

        async def answered():
            return await results(redis)

        await eventually(answered, "a result")
        assert [(each["version"], each["role"]) for each in await answered()] == [("1", "live")]


async def test_a_pointer_that_cannot_be_read_changes_nothing(server, redis, store, caplog):
    async with working(server, models=store) as worker:
        for content in ("", "{}", '{"version": "../../etc", "generation": 9}'):
            (store / "toy" / "live.json").write_text(content)
            await worker.announce("toy")

            async def said():
                return "following waits" in caplog.text

            await eventually(said, "it says so")
            caplog.clear()
            worker._followers["toy"]._trouble.over()
        assert held(worker).live == "1"
        point(store, 2, version="2")
        await worker.announce("toy")
        await until_announced(redis, lambda each: each.live == "2")


async def test_a_slower_version_is_read_in_smaller_batches(server, redis, store):
    class Slow(Toy):
        def predict(self, texts):
            for text in texts:
                sum(range(100 * len(text)))
            return super().predict(texts)

    LOADERS["slow"] = Slow
    write_model(store, version="slow", kind="slow")
    point(store, version="1")
    async with working(server, models=store, claim_ms=600) as worker:
        speed = worker._followers["toy"].speed
        before = speed.batch
        point(store, 2, version="slow")
        await worker.announce("toy")
        await until_announced(redis, lambda each: each.live == "slow")
        assert speed.batch < before


async def test_versions_of_a_store_elsewhere_are_copied_here(server, redis, store, tmp_path):
    remote = Store("memory://elsewhere")
    for version in ("1", "2"):
        remote.add(store / "toy" / version)
    remote.replace_pointer("toy", None, Pointer(version="1", generation=1))
    settings = {"store": "memory://elsewhere", "models": tmp_path / "copies"}
    ((first, _),) = Loading(WorkerSettings(**settings)).first()
    async with working(server, first, **settings):
        await change(remote, redis, "toy", lambda pointer: pointer.model_copy(update={"version": "2"}))
        await until_announced(redis, lambda each: each.live == "2")
    assert sorted(path.name for path in (tmp_path / "copies" / "toy").iterdir()) == ["1", "2", "live.json"]
    assert live_version(tmp_path / "copies", "toy") == "2"


async def test_two_models_follow_their_own_pointers(server, redis, store):
    write_model(store, name="other")
    async with working(server, served(), served(name="other"), models=store) as worker:
        point(store, 2, version="2")
        await worker.announce("toy")
        await until_announced(redis, lambda each: each.live == "2")
        assert worker._followers["other"].served.live == "1"
