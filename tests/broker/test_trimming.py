"""What is cut, by us or by hand: never unread by us, and each lost entry counted once for each group."""

import pytest

from broker.claims import claim
from broker.events import Request
from broker.groups import ensure_groups, groups_of
from broker.janitor import keep_house
from broker.log import Log, Unit
from broker.streams import ARCHIVE, WORKERS, PredictionId, Tag
from broker.trimming import trim

TAG = Tag("sentiment")


@pytest.fixture
async def log(redis, settings):
    await ensure_groups(redis, TAG)
    return Log(redis, settings)


async def accept(log, count, text="fine", **limits):
    requests = [Request(id=str(PredictionId.new(TAG)), text=text, deadline_ms=900_000) for _ in range(count)]
    outcomes = await log.accept(TAG, [Unit((request,)) for request in requests], **{"backlog_limit": 10_000, **limits})
    return [outcome.status for outcome in outcomes]


async def read(redis, count):
    found = await redis.xreadgroup(WORKERS, "w", {TAG.requests: ">"}, count=count)
    return [entry for entry, _ in found[0][1]] if found else []


async def answer(redis, count):
    entries = await read(redis, count)
    await redis.xack(TAG.requests, WORKERS, *entries)
    await redis.decrby(TAG.backlog, len(entries))


async def lag(redis, name=WORKERS):
    return next(group["lag"] for group in await groups_of(redis, TAG.requests) if group["name"] == name.encode())


async def lost(redis, name=WORKERS):
    return int(await redis.hget(TAG.gaps, f"requests/{name}") or 0)


async def test_what_was_accepted_stays_until_it_is_answered_though_it_is_past_the_cap(redis, settings, log):
    settings = settings.model_copy(update={"requests_max_mb": 1})
    for _ in range(30):  # what one call accepts has one time
        assert set(await accept(log, 10, "x" * 10_000)) == {"accepted"}
    await read(redis, 20)
    for _ in range(3):
        await keep_house(redis, settings, TAG, "me")
    assert await redis.xlen(TAG.requests) == 300
    assert (await lost(redis), await redis.get(TAG.backlog)) == (0, b"300")


async def test_no_trimming_takes_a_request_that_the_workers_have_not_finished(redis, log):
    await accept(log, 10)
    entries = [entry for entry, _ in await redis.xrange(TAG.requests)]
    await answer(redis, 3)
    await read(redis, 4)
    for left in (entries[3:], entries[6:]):
        await trim(redis, TAG, "requests", entries[-1].decode())
        assert [entry for entry, _ in await redis.xrange(TAG.requests)] == left
        await redis.xack(TAG.requests, WORKERS, *entries[3:6])
    assert await lost(redis) == 0


async def test_what_may_wait_is_known_in_bytes(redis, settings):
    log = Log(redis, settings.model_copy(update={"requests_max_mb": 1}))
    await ensure_groups(redis, TAG)
    statuses = await accept(log, 200, "x" * 10_000)
    let_in = statuses.count("accepted")
    assert 95 <= let_in <= 105
    assert statuses == ["accepted"] * let_in + ["overloaded"] * (200 - let_in)
    assert await accept(log, 1, "x" * 10_000) == ["overloaded"]
    await answer(redis, 50)
    assert (await accept(log, 200, "x" * 5000)).count("accepted") in range(95, 106), "half of the room, half the size"


async def test_many_small_texts_may_wait_where_few_large_ones_may(log):
    assert set(await accept(log, 1000, bytes_limit=1_000_000)) == {"accepted"}


@pytest.mark.parametrize("by_hand", ["XTRIM", "XDEL"])
async def test_what_is_deleted_by_hand_before_it_was_read_is_counted_once(redis, settings, log, by_hand):
    await accept(log, 20)
    await answer(redis, 10)
    waiting = [entry for entry, _ in await redis.xrange(TAG.requests)][10:]
    if by_hand == "XTRIM":
        await redis.xtrim(TAG.requests, maxlen=5, approximate=False)
    else:
        await redis.xdel(TAG.requests, *waiting[:5])
        await answer(redis, 5)  # past the hole: only then its size is known
        await accept(log, 5)
    for _ in range(3):
        await keep_house(redis, settings, TAG, "me")
    assert (await lost(redis), await lag(redis), await redis.get(TAG.backlog)) == (5, 5, b"5")
    await answer(redis, 5)
    await accept(log, 7)
    for _ in range(3):
        await keep_house(redis, settings, TAG, "me")
    assert (await lost(redis), await lag(redis), await redis.get(TAG.backlog)) == (5, 7, b"7")


async def test_an_entry_deleted_while_it_was_worked_on_is_counted_once_too(redis, settings, log):
    settings = settings.model_copy(update={"claim_ms": 200})
    await accept(log, 5)
    entries = await read(redis, 3)
    await redis.xtrim(TAG.requests, maxlen=0, approximate=False)
    await keep_house(redis, settings, TAG, "me")
    assert (await lost(redis), await redis.get(TAG.backlog)) == (2, b"3")
    for entry in entries:
        await claim(redis, TAG, "other", entry.decode(), settings.model_copy(update={"claim_ms": 0}))
    await keep_house(redis, settings, TAG, "me")
    assert (await lost(redis), await redis.get(TAG.backlog)) == (5, b"0")


async def test_each_group_loses_what_it_had_not_read(redis, log):
    await redis.xgroup_create(TAG.requests, ARCHIVE, id="0")
    await redis.xgroup_create(TAG.requests, "shadow.2", id="0")
    await accept(log, 100)
    entries = [entry.decode() for entry, _ in await redis.xrange(TAG.requests)]
    await read(redis, 100)
    await redis.xack(TAG.requests, WORKERS, *entries)
    await redis.xreadgroup("shadow.2", "w", {TAG.requests: ">"}, count=30)
    for kept in (80, 60, 60, 1):  # step by step, and once with nothing to do
        await trim(redis, TAG, "requests", entries[-kept])
    assert (await lost(redis), await lost(redis, ARCHIVE), await lost(redis, "shadow.2")) == (0, 99, 69)
    assert (await lag(redis), await lag(redis, ARCHIVE), await lag(redis, "shadow.2")) == (0, 1, 1)


async def test_ids_of_any_size_are_trimmed_where_they_should_be(redis):
    await redis.xgroup_create(TAG.requests, "shadow.2", id="0", mkstream=True)
    ids = ["5-0", "5-9", "5-99", "5-9999999999999999999", "5-18446744073709551615", "6-0", "6-1"]
    for entry in ids:
        await redis.xadd(TAG.requests, {"text": "x"}, id=entry)
    for read_first in range(1, len(ids)):
        await redis.xreadgroup("shadow.2", "w", {TAG.requests: ">"}, count=1)
        await trim(redis, TAG, "requests", ids[read_first])
        assert [entry.decode() for entry, _ in await redis.xrange(TAG.requests)] == ids[read_first:]
    assert not await redis.hgetall(TAG.gaps)
