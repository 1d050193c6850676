"""Shadow versions in a worker: what they write, what they never touch, and how they begin and end."""

import asyncio
import time
from collections import Counter

import pytest

from broker.announcements import announcements
from broker.changes import change
from broker.groups import groups_of
from broker.manifest import Pointer
from broker.shadows import is_in_sample
from broker.store import Store
from broker.streams import shadow_group
from broker.versions import mirror, wanted
from tests.servers import eventually
from tests.worker.builders import TAG, Toy, fields, old_entry, results, served, working, write_model
from worker.metrics import REGISTRY
from worker.models import LOADERS
from worker.shadow import Shadow


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr("worker.shadowing.EVERY_S", 0.05)
    monkeypatch.setattr("worker.shadow.BLOCK_MS", 100)


@pytest.fixture
def store(tmp_path):
    """A store where version 1 is live and version 2 can be loaded."""
    write_model(tmp_path, version="2")
    write_model(tmp_path, version="1")
    return tmp_path


async def want(redis, **shadows):
    """Write to Redis alone what a newer pointer than the store's would want."""
    known = await wanted(redis, TAG.model)
    generation = known.generation + 1 if known else 2  # the store's pointer has the first
    assert await mirror(redis, TAG.model, Pointer(version="1", generation=generation, shadows=shadows))


async def want_of_store(redis, store, **shadows):
    await change(Store(str(store)), redis, TAG.model, lambda now: now.model_copy(update={"shadows": shadows}))


async def until_announced(redis, worker, condition):
    async def found():
        await worker.announce(TAG.model)
        return any(condition(one) for one in await announcements(redis, TAG.model))

    await eventually(found, "an announcement")


def shown(metric, version="2"):
    return REGISTRY.get_sample_value(metric, {"model": TAG.model, "version": version})


async def groups(redis):
    return {group["name"].decode(): group for group in await groups_of(redis, TAG.requests)}


async def opened(redis, version="2"):
    async def is_open():
        return shadow_group(version) in await groups(redis)

    await eventually(is_open, f"shadow {version} has a group")


async def send(redis, count, **more):
    sent = [fields(f"good film {number}", **more) for number in range(count)]
    for each in sent:
        await redis.xadd(TAG.requests, each)
    return sent


async def by_role(redis, role, count):
    async def enough():
        return sum(result.get("role", "live") == role for result in await results(redis)) >= count

    await eventually(enough, f"{count} results of role {role}")
    return [result for result in await results(redis) if result["role"] == role]


async def test_a_shadow_answers_every_text_beside_the_live_version_and_touches_nothing_else(server, redis, store):
    async with working(server, models=store):
        await want(redis, **{"2": 1.0})
        await opened(redis)
        sent = await send(redis, 30, reply_to="gateway", true_label="positive")
        shadows = await by_role(redis, "shadow", 30)
        await by_role(redis, "live", 30)
        assert Counter(result["id"] for result in shadows) == Counter(each["id"] for each in sent)
        assert {result["version"] for result in shadows} == {"2"}
        assert await redis.xlen(TAG.results) == 60
        assert await redis.xlen(TAG.feedback) == 30
        assert await redis.xlen(TAG.replies("gateway")) == 30
        stored = [value async for key in redis.scan_iter("*:answers:*") for value in await redis.hvals(key)]
        assert len(stored) == 30
        assert all(b'"version":"1"' in answer for answer in stored)
        rows = [value async for key in redis.scan_iter("*:joins:*") for value in await redis.hvals(key)]
        assert len(rows) == 30
        assert not any(b'"2"' in row for row in rows)
        assert int(await redis.get(TAG.backlog)) <= 0
        assert not await redis.xlen(TAG.dead)


async def test_all_shadows_see_the_same_sample(server, redis, store):
    write_model(store, version="3", live=False)
    async with working(server, models=store):
        await want(redis, **{"2": 0.4, "3": 0.2})
        await opened(redis)
        await opened(redis, "3")
        sent = await send(redis, 60)
        chosen = {share: {each["id"] for each in sent if is_in_sample(each["id"], share)} for share in (0.4, 0.2)}
        found = await by_role(redis, "shadow", len(chosen[0.4]) + len(chosen[0.2]))
        ids = {version: {result["id"] for result in found if result["version"] == version} for version in "23"}
        assert ids == {"2": chosen[0.4], "3": chosen[0.2]}
        assert chosen[0.2] < chosen[0.4]

        async def all_read():
            return all(group["pending"] == group["lag"] == 0 for group in (await groups(redis)).values())

        await eventually(all_read, "what is not in the sample is passed by")


async def test_a_shadow_begins_at_the_end_and_leaves_nothing_when_it_is_switched_off(server, redis, store):
    async with working(server, models=store):
        await send(redis, 5)
        await by_role(redis, "live", 5)
        await want(redis, **{"2": 1.0})
        await opened(redis)
        late = await send(redis, 1)
        (only,) = await by_role(redis, "shadow", 1)
        assert only["id"] == late[0]["id"]
        await want(redis)

        async def gone():
            return set(await groups(redis)) == {"workers"}

        await eventually(gone, "the janitor has removed the group")
        assert not await redis.exists(TAG.lease(shadow_group("2")))
        assert not await redis.xlen(TAG.alerts)


async def test_what_a_dead_worker_held_of_a_shadow_is_finished_by_another_and_poison_given_up(server, redis, store):
    await redis.xgroup_create(TAG.requests, shadow_group("2"), mkstream=True)
    innocent, poison = await send(redis, 2)
    taken = await redis.xreadgroup(shadow_group("2"), "dead", {TAG.requests: ">"})
    await redis.xclaim(TAG.requests, shadow_group("2"), "dead", 0, [taken[0][1][1][0]], retrycount=2, justid=True)
    await want(redis, **{"2": 1.0})
    async with working(server, models=store, claim_ms=200):
        found = {result["id"]: result for result in await by_role(redis, "shadow", 2)}
    assert (found[innocent["id"]]["status"], found[innocent["id"]]["deliveries"]) == ("ok", "2")
    assert (found[poison["id"]]["status"], found[poison["id"]]["code"]) == ("error", "inference_failed")
    assert not await redis.xlen(TAG.dead)


async def test_a_shadow_that_is_behind_answers_what_came_too_late_for_its_caller(server, redis, store):
    await redis.xgroup_create(TAG.requests, shadow_group("2"), mkstream=True)
    await redis.xadd(TAG.requests, fields(deadline_ms=1000), id=old_entry(3_600_000))
    await want(redis, **{"2": 1.0})
    async with working(server, models=store):
        (late,) = await by_role(redis, "live", 1)
        (behind,) = await by_role(redis, "shadow", 1)
    assert (late["status"], late["code"], behind["status"]) == ("error", "deadline_exceeded", "ok")


async def test_a_shadow_that_raises_writes_its_error_and_disturbs_nobody(server, redis, store):
    async with working(server, served(), models=store):
        await want(redis, **{"2": 1.0})
        await opened(redis)
        await redis.xadd(TAG.requests, fields("RAISE"))
        await redis.xadd(TAG.requests, {"nonsense": "1"})
        await redis.xadd(TAG.requests, fields("good"))
        first, second = await by_role(redis, "shadow", 2)
        assert (first["status"], first["code"]) == ("error", "inference_failed")
        assert (second["status"], second["label"]) == ("ok", "positive")
        assert await redis.xlen(TAG.dead) == 2, "those of the live version"


async def test_no_shadow_runs_where_texts_are_not_stored(server, redis, store, caplog):
    async with working(server, models=store, store_text="none"):
        await want(redis, **{"2": 1.0})
        await eventually(lambda: asyncio.sleep(0, "OBSERVA_STORE_TEXT=none" in caplog.text), "it is said why")
        assert shadow_group("2") not in await groups(redis)


async def test_a_damaged_version_is_refused_aloud_and_live_answers_go_on(server, redis, store):
    (store / "toy" / "2" / "model.json").write_text("{}")
    async with working(server, models=store) as worker:
        await want_of_store(redis, store, **{"2": 1.0})
        await until_announced(redis, worker, lambda one: "model.json" in one.refused.get("2", ""))
        assert (shown("observa_model_refused"), shown("observa_shadow_running")) == (1, 0)
        await send(redis, 3)
        await by_role(redis, "live", 3)
        assert shadow_group("2") not in await groups(redis)
        await want_of_store(redis, store)
        await until_announced(redis, worker, lambda one: not one.refused)
        assert (shown("observa_model_refused"), shown("observa_shadow_running")) == (None, None)


async def test_who_pins_a_shadow_gets_one_answer_of_it_and_nobody_else_does(server, redis, store):
    async with working(server, models=store) as worker:
        await want_of_store(redis, store, **{"2": 1.0})
        await until_announced(redis, worker, lambda one: set(one.shadows) == {"2"} and set(one.versions) == {"1"})
        await opened(redis)
        assert (shown("observa_model_refused"), shown("observa_shadow_running")) == (0, 1)
        (pinned,) = await send(redis, 1, version="2", pinned=True)
        (stamped,) = await send(redis, 1, version="2")
        shadows = await by_role(redis, "shadow", 2)
        (canary,) = await by_role(redis, "canary", 1)
        (live,) = await by_role(redis, "live", 1)
        assert (canary["id"], canary["version"]) == (pinned["id"], "2")
        assert (live["id"], live["version"]) == (stamped["id"], "1")
        assert {result["id"] for result in shadows} == {pinned["id"], stamped["id"]}
        assert await redis.xlen(TAG.results) == 4
        await want_of_store(redis, store)
        await until_announced(redis, worker, lambda one: not one.shadows)
        await send(redis, 1, version="2", pinned=True)
        live = await by_role(redis, "live", 2)
        assert live[-1]["code"] == "version_unavailable"
        assert shown("observa_shadow_running") is None


async def test_a_shadow_too_slow_for_whoever_waits_runs_and_answers_nobody(server, redis, store, monkeypatch):
    monkeypatch.setitem(LOADERS, "sluggish", Sluggish)
    write_model(store, version="3", kind="sluggish", live=False)
    async with working(server, models=store, claim_ms=200) as worker:
        await want_of_store(redis, store, **{"3": 1.0})
        await opened(redis, "3")
        await until_announced(redis, worker, lambda one: one.generation == 2)
        (said,) = await announcements(redis, TAG.model)
        assert (said.shadows, said.refused) == ({}, {})
        await send(redis, 1)
        await by_role(redis, "shadow", 1)


class Sluggish(Toy):
    """Computes for longer than a claim time allows where a text is long."""

    def predict(self, texts):
        if any(len(text) > 1000 for text in texts):
            ends = time.thread_time() + 1.6
            while time.thread_time() < ends:
                pass
        return super().predict(texts)


class Slow(Toy):
    """Takes so long that it can never keep up."""

    def predict(self, texts):
        time.sleep(0.3)
        return super().predict(texts)


async def test_a_shadow_slower_than_its_traffic_falls_behind_and_live_answers_do_not_wait(
    server, redis, store, monkeypatch
):
    monkeypatch.setitem(LOADERS, "slow", Slow)
    write_model(store, version="3", kind="slow", live=False)
    async with working(server, models=store):
        await want(redis, **{"3": 1.0})
        await opened(redis, "3")
        await send(redis, 150)
        await by_role(redis, "live", 150)
        slow = (await groups(redis))[shadow_group("3")]
        assert slow["lag"] + slow["pending"] > 100
        assert int(await redis.get(TAG.backlog)) <= 0, "admission does not count what a shadow has to do"
        await by_role(redis, "shadow", 1)


@pytest.mark.parametrize("duty", ["_read_on", "_keep_held", "_take_over"])
async def test_a_shadow_that_fails_by_a_mistake_begins_again_and_live_answers_go_on(
    server, redis, store, monkeypatch, duty
):
    does, fails = getattr(Shadow, duty), asyncio.Event()

    async def once(shadow):
        if not fails.is_set():
            await asyncio.sleep(0.1)
            fails.set()
            raise RuntimeError("a mistake")
        await does(shadow)

    monkeypatch.setattr(Shadow, duty, once)
    monkeypatch.setattr("worker.shadowing.AGAIN_S", 1)
    async with working(server, models=store) as worker:
        await want_of_store(redis, store, **{"2": 1.0})
        await until_announced(redis, worker, lambda one: "it failed" in one.refused.get("2", ""))
        await send(redis, 3)
        await by_role(redis, "live", 3)
        await until_announced(redis, worker, lambda one: set(one.shadows) == {"2"} and not one.refused)
        assert shown("observa_shadow_running") == 1
        await send(redis, 1)
        await by_role(redis, "shadow", 1)
