"""Requests that were accepted and that no reader has any more."""

import asyncio
import time
from dataclasses import replace

import orjson
import pytest

from broker.connection import Clock
from broker.events import Request
from broker.groups import ensure_groups
from broker.log import Log, Unit
from broker.streams import WORKERS, PredictionId, entry_time_ms
from broker.waiting import find_waiting
from tests.servers import eventually
from tests.worker.builders import TAG, pending, results, served, working
from worker.handler import Handler
from worker.overdue import Overdue
from worker.serving import Means, Serving
from worker.speed import Speed
from worker.turns import Turns

CLAIM_MS = 200


@pytest.fixture
async def log(redis, settings):
    await ensure_groups(redis, TAG)
    return Log(redis, settings)


@pytest.fixture
async def overdue(redis, settings, log):
    clock, patient = Clock(), settings.model_copy(update={"claim_ms": CLAIM_MS})
    await clock.sync(redis)
    means = Means(log, Turns(), clock, patient, "w")
    return Overdue(redis, Serving(TAG, Handler(served(), "w", clock.now_ms, time.perf_counter), Speed(9, 9), means))


async def accept(log, count=1, **fields):
    """Requests of a caller whose deadline passes at once."""
    asked = {"deadline_ms": 1, "reply_to": "gateway", "tags": {"country": "de"}} | fields
    sent = [Request(id=str(PredictionId.new(TAG)), text="a good film", **asked) for _ in range(count)]
    await log.accept(TAG, [Unit((one,)) for one in sent], backlog_limit=10_000)
    return sent


async def pass_over(redis):
    await redis.xgroup_setid(TAG.requests, WORKERS, "$")


async def past(overdue, redis, one):
    """Wait until *one* is overdue."""
    waiting = await find_waiting(redis, PredictionId.parse(one.id))
    means = overdue._serving.means

    async def late():
        return waiting.is_overdue(means.clock.now_ms(), means.settings)

    await eventually(late, "the deadline is past")


async def answer_of(log, one):
    [stored] = await log.answers([PredictionId.parse(one.id)])
    return stored


async def test_what_the_group_was_moved_past_is_answered_at_its_deadline_once(log, redis, overdue):
    sent = await accept(log, 5)
    await pass_over(redis)
    await past(overdue, redis, sent[-1])
    await asyncio.gather(overdue.look(), Overdue(redis, overdue._serving).look(), overdue.look())
    for one in sent:
        assert orjson.loads(await answer_of(log, one))["error"]["code"] == "deadline_exceeded"
    found = await results(redis)
    assert sorted(each["id"] for each in found) == sorted(one.id for one in sent)
    assert {(each["code"], each["tags"], each["version"]) for each in found} == {
        ("deadline_exceeded", '{"country":"de"}', "1")
    }
    assert await redis.xlen(TAG.replies("gateway")) == 5
    assert await redis.hlen(TAG.waiting) == 0
    assert await redis.hget(TAG.unanswered, "requests") == b"5"


async def test_what_is_not_late_yet_or_was_answered_is_left_alone(log, redis, overdue):
    [later] = await accept(log, deadline_ms=600_000)
    [answered] = await accept(log)
    await pass_over(redis)
    await past(overdue, redis, answered)
    await redis.hset(PredictionId.parse(answered.id).answers_key, answered.id, "by a worker of before")
    await overdue.look()
    assert await answer_of(log, later) == b"pending"
    assert await answer_of(log, answered) == b"by a worker of before"
    assert await results(redis) == []
    assert await redis.hkeys(TAG.waiting) == [later.id[-36:].encode()]


@pytest.mark.parametrize("delivered", [False, True])
async def test_what_the_group_has_or_will_get_is_left_to_it(log, redis, overdue, delivered):
    [one] = await accept(log)
    if delivered:
        await redis.xreadgroup(WORKERS, "a worker", {TAG.requests: ">"})
    await past(overdue, redis, one)
    await overdue.look()
    assert await answer_of(log, one) == b"pending"
    assert await redis.hlen(TAG.waiting) == 1


async def test_a_text_that_the_group_has_or_will_get_stays_though_none_is_to_be_stored(redis, settings, overdue):
    log = Log(redis, settings.model_copy(update={"store_text": "none"}))
    overdue._serving.means = replace(overdue._serving.means, log=log)
    sent = await accept(log, 3)
    await redis.xreadgroup(WORKERS, "a worker", {TAG.requests: ">"}, count=2)
    await past(overdue, redis, sent[-1])
    await overdue.look()
    assert await redis.xlen(TAG.requests) == 3
    assert await redis.hlen(TAG.waiting) == 3


@pytest.mark.parametrize("lost", ["trimmed", "all"])
async def test_what_is_on_the_log_no_more_is_answered_too(log, redis, overdue, lost):
    [one] = await accept(log)
    await (redis.xtrim(TAG.requests, maxlen=0) if lost == "trimmed" else redis.delete(TAG.requests))
    await past(overdue, redis, one)
    await overdue.look()
    assert b"deadline_exceeded" in await answer_of(log, one)
    assert [each["id"] for each in await results(redis)] == [one.id]


async def test_the_answer_to_what_is_on_the_log_no_more_stays_its_callers(log, redis, overdue):
    [one] = await accept(log, key="0123456789ab")
    await redis.delete(TAG.requests)
    await past(overdue, redis, one)
    await overdue.look()
    [(answer, key)] = await log.records([PredictionId.parse(one.id)])
    assert b"deadline_exceeded" in answer
    assert key == "0123456789ab"


async def test_a_group_that_is_gone_will_be_made_again_and_read_all(log, redis, overdue):
    [one] = await accept(log)
    await redis.xgroup_destroy(TAG.requests, WORKERS)
    await past(overdue, redis, one)
    await overdue.look()
    assert await answer_of(log, one) == b"pending"


async def test_a_group_that_is_moved_back_answers_nothing_again(server, log, redis, overdue):
    [one] = await accept(log)
    await pass_over(redis)
    await past(overdue, redis, one)
    await overdue.look()
    await redis.xgroup_setid(TAG.requests, WORKERS, "0")
    async with working(server):

        async def read():
            [group] = await redis.xinfo_groups(TAG.requests)
            return group["last-delivered-id"] != b"0-0" and not await pending(redis)

        await eventually(read, "it was read again, and acknowledged")
    assert len(await results(redis)) == 1


async def test_a_redriven_request_waits_anew(log, redis, overdue):
    [one] = await accept(log)
    await past(overdue, redis, one)
    before = await find_waiting(redis, PredictionId.parse(one.id))
    fields = [part for pair in one.to_fields().items() for part in pair]
    dead = await redis.xadd(TAG.dead, {"id": one.id, "reason": "crashed", "entry": orjson.dumps(fields)})
    await log.redrive(TAG, dead.decode())
    now = await find_waiting(redis, PredictionId.parse(one.id))
    assert now.due_ms > before.due_ms
    assert now.entry_id == (await redis.xrevrange(TAG.requests, count=1))[0][0].decode()


async def test_a_worker_that_began_in_time_has_a_claim_time_to_end(log, redis, settings):
    [one] = await accept(log, deadline_ms=1000)
    waiting = await find_waiting(redis, PredictionId.parse(one.id))
    assert waiting.due_ms == entry_time_ms(waiting.entry_id) + 1000
    assert not waiting.is_overdue(waiting.due_ms + settings.claim_ms, settings)
    assert waiting.is_overdue(waiting.due_ms + settings.claim_ms + 1, settings)


async def test_what_is_overdue_is_found_among_many_that_are_not(log, redis, overdue):
    await accept(log, 3000, deadline_ms=600_000)
    late = await accept(log, 20)
    await pass_over(redis)
    await past(overdue, redis, late[-1])
    for _ in range(20):
        await overdue.look()
    assert sorted(each["id"] for each in await results(redis)) == sorted(one.id for one in late)


async def test_a_round_looks_at_one_page_however_many_wait(log, redis, overdue):
    sent = await accept(log, 3000)
    await pass_over(redis)
    await past(overdue, redis, sent[-1])
    rounds = []
    while await redis.hlen(TAG.waiting):
        before = await redis.xlen(TAG.results)
        await overdue.look()
        rounds.append(await redis.xlen(TAG.results) - before)
    assert sum(rounds) == 3000
    assert max(rounds) < 1000


async def test_a_running_worker_answers_what_its_group_was_moved_past(server, redis, settings):
    await ensure_groups(redis, TAG)
    log = Log(redis, settings)
    sent = await accept(log, 20)
    await pass_over(redis)
    async with working(server, claim_ms=CLAIM_MS):

        async def none_waits():
            return not await redis.hlen(TAG.waiting)

        await eventually(none_waits, "none waits any more")
    assert {await answer_of(log, one) == b"pending" for one in sent} == {False}
    assert len(await results(redis)) == 20
