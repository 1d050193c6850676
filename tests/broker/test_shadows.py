"""Groups of shadow versions on a real server: what they lose is counted, what is abandoned goes."""

import pytest

from broker.events import Alert, Request, Result
from broker.forgetting import forget
from broker.groups import ensure_groups, groups_of
from broker.janitor import keep_house
from broker.manifest import Pointer
from broker.shadows import Done, finish, open_group, remove_abandoned
from broker.shares import is_in_share
from broker.streams import WORKERS, PredictionId, Tag, shadow_group
from broker.versions import mirror

TAG = Tag("toy")
HOUR_MS = 3_600_000


async def now_ms(redis):
    seconds, _ = await redis.time()
    return int(seconds) * 1000


async def group(redis, version="2"):
    found = {one["name"].decode(): one for one in await groups_of(redis, TAG.requests)}
    return found.get(shadow_group(version))


async def old_requests(redis, count, age_h):
    at = await now_ms(redis) - age_h * HOUR_MS
    for number in range(count):
        await redis.xadd(TAG.requests, {"text": "x"}, id=f"{at}-{number + 1}")


async def settled(redis):
    """The workers have read and finished everything."""
    for _, entries in await redis.xreadgroup(WORKERS, "worker", {TAG.requests: ">"}) or ():
        await redis.xack(TAG.requests, WORKERS, *(entry_id for entry_id, _ in entries))


def result(name="1", version="2"):
    return Result(id=name, version=version, role="shadow", status="error", queue_ms=1, worker="w")


async def test_texts_go_when_their_hour_comes_though_a_shadow_is_behind_and_what_it_lost_is_counted_once(
    redis, settings
):
    await ensure_groups(redis, TAG)
    await redis.xgroup_create(TAG.requests, shadow_group("2"), id="0")
    await mirror(redis, TAG.model, Pointer(version="1", generation=1, shadows={"2": 1.0}))
    await open_group(redis, TAG, "2")
    await old_requests(redis, 30, age_h=30)
    await old_requests(redis, 7, age_h=1)
    await redis.xreadgroup(shadow_group("2"), "w", {TAG.requests: ">"}, count=10)
    await settled(redis)
    for _ in range(3):
        await keep_house(redis, settings, TAG, "owner")
    assert await redis.xlen(TAG.requests) == 7
    assert await redis.hgetall(TAG.gaps) == {b"requests/shadow.2": b"20"}
    assert (await group(redis))["lag"] == 7, "the lag is true again"
    (read,) = await redis.xreadgroup(shadow_group("2"), "w", {TAG.requests: ">"})
    assert len(read[1]) == 7


async def test_the_workers_still_hold_the_log_back_beside_a_shadow(redis, settings):
    await ensure_groups(redis, TAG)
    await mirror(redis, TAG.model, Pointer(version="1", generation=1, shadows={"2": 1.0}))
    await open_group(redis, TAG, "2")
    await old_requests(redis, 5, age_h=30)
    await keep_house(redis, settings, TAG, "owner")
    assert await redis.xlen(TAG.requests) == 5
    assert not await redis.hgetall(TAG.gaps)


async def test_past_the_byte_cap_a_shadow_loses_what_all_lose(redis, settings):
    await ensure_groups(redis, TAG)
    await mirror(redis, TAG.model, Pointer(version="1", generation=1, shadows={"2": 1.0}))
    await open_group(redis, TAG, "2")
    for number in range(300):
        await redis.xadd(TAG.requests, {"text": "x" * 10_000}, id=f"{await now_ms(redis) - 60_000 + number}-1")
    await settled(redis)
    await keep_house(redis, settings.model_copy(update={"requests_max_mb": 1}), TAG, "owner")
    left = await redis.xlen(TAG.requests)
    assert 0 < left < 300
    assert await redis.hgetall(TAG.gaps) == {b"requests/shadow.2": str(300 - left).encode()}


async def test_an_abandoned_group_goes_with_an_alert_that_ends_when_somebody_reads_again(redis):
    await mirror(redis, TAG.model, Pointer(version="1", generation=1, shadows={"2": 1.0}))
    await open_group(redis, TAG, "2")
    await remove_abandoned(redis, TAG, 1000)
    assert await group(redis), "somebody read it a moment ago"
    await redis.delete(TAG.lease(shadow_group("2")))  # as after ten minutes without a reader
    await remove_abandoned(redis, TAG, 1000)
    assert await group(redis) is None
    await open_group(redis, TAG, "2")
    began, ended = [Alert.from_fields(fields) for _, fields in await redis.xrange(TAG.alerts)]
    assert (began.state, began.version, began.severity) == ("firing", "2", "ticket")
    assert (ended.state, ended.alert_id) == ("resolved", began.alert_id)


async def test_a_group_that_is_no_longer_wanted_goes_quietly_with_its_gap(redis):
    await mirror(redis, TAG.model, Pointer(version="1", generation=1, shadows={"2": 1.0}))
    await open_group(redis, TAG, "2")
    await redis.hincrby(TAG.gaps, "requests/shadow.2", 3)
    await mirror(redis, TAG.model, Pointer(version="1", generation=2))
    await remove_abandoned(redis, TAG, 1000)
    assert await group(redis) is None
    assert not await redis.hgetall(TAG.gaps)
    assert not await redis.xlen(TAG.alerts)


async def test_nothing_is_removed_while_redis_does_not_know_what_is_wanted(redis):
    await open_group(redis, TAG, "2")
    await remove_abandoned(redis, TAG, 1000)
    assert await group(redis)


async def test_a_shadow_result_is_published_once_whoever_finishes_first(redis):
    await open_group(redis, TAG, "2")
    await redis.xadd(TAG.requests, {"text": "x"})
    (read,) = await redis.xreadgroup(shadow_group("2"), "w", {TAG.requests: ">"})
    entry = read[1][0][0].decode()
    assert await finish(redis, TAG, "2", [Done(entry, result())]) == [True]
    assert await finish(redis, TAG, "2", [Done(entry, result())]) == [False]
    assert await redis.xlen(TAG.results) == 1


async def test_to_forget_somebody_waits_for_a_shadow_only_while_it_holds_the_entry(redis):
    await ensure_groups(redis, TAG)
    await open_group(redis, TAG, "2")
    sent = [Request(id=str(PredictionId.new(TAG)), text="x", subject="u-17") for _ in range(3)]
    for request in sent:
        await redis.xadd(TAG.requests, request.to_fields())
    await settled(redis)
    await redis.xadd(TAG.requests, {"text": "another"})
    await settled(redis)
    (read,) = await redis.xreadgroup(shadow_group("2"), "w", {TAG.requests: ">"}, count=1)
    ids = {request.id for request in sent}
    held = await forget(redis, [TAG], ids, wait_s=0)
    assert (held.erased["requests"], held.waiting[TAG.requests]) == (2, 1)
    await finish(redis, TAG, "2", [Done(read[1][0][0].decode())])
    assert (await forget(redis, [TAG], ids, wait_s=5)).erased["requests"] == 1


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_share_is_as_large_as_it_says_and_grows_without_moving_anybody(share):
    keys = [f"subject-{number}" for number in range(20_000)]
    chosen = {key for key in keys if is_in_share(key, share, "a draw")}
    spread = (share * (1 - share) / len(keys)) ** 0.5
    assert abs(len(chosen) / len(keys) - share) < 4 * spread
    assert chosen <= {key for key in keys if is_in_share(key, share + 0.05, "a draw")}
    other = {key for key in keys if is_in_share(key, share, "another draw")}
    assert abs(len(chosen & other) / len(keys) - share**2) < 5 * spread
