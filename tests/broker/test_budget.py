"""One budget for the whole server: the oldest goes, and nobody is refused while workers keep up."""

import json

import pytest
from redis.exceptions import OutOfMemoryError

from broker.budget import Budget, cuts_for, lasts_s, waiting_bytes
from broker.connection import connect
from broker.errors import SettingsError
from broker.events import Request
from broker.groups import ensure_groups
from broker.holdings import MINUTE_MS, SLOT_MS, Answers, Held, Joins, Keys, Requests, Results
from broker.janitor import keep_house
from broker.join_rows import HOUR_MS, ROW_BYTES, drop_before
from broker.kept import given_up_before_ms, kept_s, note_kept
from broker.log import Acceptance, Idempotency, Log, Unit
from broker.settings import BrokerSettings, load_settings
from broker.streams import IDEM_SLOTS, WORKERS, PredictionId, Tag
from gateway.settings import GatewaySettings
from tests.broker.traffic import Model, World, turn_the_clock

NOW_MS = 1_700_000_000_000
MB = 1 << 20
TRAFFIC = {
    # models, hours, seconds between two rounds
    "two weeks of three models, half of it labelled": (
        [
            Model("busy", 20, labelled=0.5),
            Model("keyed", 5, labelled=1.0, keyed=1.0),
            Model("quiet", 0.3, labelled=1.0),
        ],
        14 * 24,
        6 * 3600,
    ),
    "ten minutes at 20 a second, all labelled and keyed": (
        [Model("fast", 72_000, labelled=1.0, keyed=1.0)],
        1 / 6,
        10,
    ),
    "a day of long texts": ([Model("long", 60, words=100)], 24, 900),
    "two days of six models": ([Model(f"m{n}", 20 * (n % 3 + 1), labelled=0.2 * n) for n in range(6)], 48, 7200),
}


@pytest.fixture
async def small(own_server, monkeypatch):
    """A client of a server with 8 MB."""
    turn_the_clock(monkeypatch)
    client = connect(BrokerSettings(redis_url=own_server.url, redis_password_file=None), "test")
    await client.config_set("maxmemory", 8 * MB)
    yield client
    await client.aclose()
    await client.connection_pool.disconnect()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TRAFFIC)
async def test_a_small_server_is_never_refused_by_while_workers_keep_up(name, small, own_server):
    models, hours, step_s = TRAFFIC[name]
    settings = BrokerSettings(redis_url=own_server.url, redis_password_file=None, model=models[0].name)
    world = World(small, settings, models)
    await world.begin()
    await world.play(hours, step_s)
    assert world.refused == 0
    assert world.highest > 0.5, "there was more than fits"
    for tag in world.tags:
        assert not await small.hgetall(tag.gaps)


def held(size, age_s, young_s=10):
    return Held(size, NOW_MS - age_s * 1000, NOW_MS - young_s * 1000, rate=0)


def test_the_oldest_of_all_goes_first():
    old, young = held(600, age_s=1000), held(600, age_s=100)
    before_old, before_young = cuts_for([old, young], excess=60, budget=1000, now_ms=NOW_MS)
    assert before_old == pytest.approx(NOW_MS - 900_000, abs=2)
    assert before_young <= young.oldest_ms


def test_who_takes_less_than_its_share_keeps_what_it_has():
    busy, quiet = held(1000, age_s=100), held(50, age_s=100_000)
    before_busy, before_quiet = cuts_for([busy, quiet], excess=100, budget=1000, now_ms=NOW_MS)
    assert before_busy == pytest.approx(NOW_MS - 90_000, abs=2)
    assert before_quiet <= quiet.oldest_ms


def test_what_is_in_use_stays_though_it_is_not_enough():
    waiting, used = held(1000, age_s=100, young_s=100), held(10, age_s=100)
    before_waiting, before_used = cuts_for([waiting, used], excess=500, budget=600, now_ms=NOW_MS)
    assert before_waiting <= waiting.oldest_ms
    assert before_used == used.limit_ms
    assert cuts_for([], excess=500, budget=600, now_ms=NOW_MS) == []


def test_how_long_all_is_kept_follows_from_the_present_rate():
    assert lasts_s([(10, 1000), (1, 10_000)], room=100_000) == pytest.approx(10_000, abs=2)
    assert lasts_s([(10, 1000), (1, 10_000)], room=15_000) == pytest.approx(5000, abs=2)
    assert lasts_s([(10, 1000), (1, 10_000)], room=1100) == pytest.approx(100, abs=2)


@pytest.mark.parametrize(("per_second", "at_once"), [(4, 1), (300, 1), (300, 30)])
async def test_the_present_rate_is_that_of_the_last_minute(redis, settings, per_second, at_once):
    results, tag = Results(redis, settings, Tag("sentiment")), Tag("sentiment")
    hour_ago_ms = NOW_MS - 60 * MINUTE_MS

    async def come(since_ms: int, seconds: int, a_second: int) -> None:
        pipeline = redis.pipeline(transaction=False)
        for number in range(seconds * a_second):
            at_ms = since_ms + number // at_once * at_once * 1000 // a_second
            pipeline.xadd(tag.results, {"id": "x" * 200}, id=f"{at_ms}-{number % at_once}")
        await pipeline.execute()

    await come(hour_ago_ms, 3600, 1)
    first = await results.look(NOW_MS)
    assert first.rate == pytest.approx(first.size / 3600, rel=0.01), "nothing is known but what is held"
    for step in range(12):
        now_ms = NOW_MS + step * 10_000
        await come(now_ms, 10, per_second)
        held = await results.look(now_ms + 10_000)
    entry_bytes = held.size / await redis.xlen(tag.results)
    assert held.rate == pytest.approx(per_second * entry_bytes, rel=0.01)


async def test_the_present_rate_of_what_waits_for_labels_is_known_in_a_logs_first_hour(redis, settings):
    joins, tag = Joins(redis, settings, Tag("sentiment")), Tag("sentiment")
    hour_ms = NOW_MS // HOUR_MS * HOUR_MS
    for now_ms, rows in ((hour_ms + 50 * MINUTE_MS, 100), (hour_ms + 51 * MINUTE_MS, 700)):
        await redis.hset(tag.joined, hour_ms // HOUR_MS, rows)
        held = await joins.look(now_ms)
    assert held.rate == pytest.approx(10 * ROW_BYTES), "600 came in this minute"
    await drop_before(redis, tag, hour_ms + 51 * MINUTE_MS)
    await redis.hset(tag.joined, mapping={str(hour_ms // HOUR_MS): 400, str(hour_ms // HOUR_MS + 1): 900})
    held = await joins.look(hour_ms + 52 * MINUTE_MS)
    assert held.rate == pytest.approx(15 * ROW_BYTES), "what was given up does not count against what comes"


def test_texts_that_wait_share_a_quarter_of_the_memory():
    servers = [{"maxmemory": 100 * MB, "used_memory": 1}, {"maxmemory": 200 * MB, "used_memory": 1}]
    assert waiting_bytes(servers[:1], logs=1) == 25 * MB
    assert waiting_bytes(servers, logs=3) == 12.5 * MB


def test_the_log_must_leave_room_below_where_callers_are_refused(monkeypatch):
    monkeypatch.setenv("OBSERVA_LOG_MEMORY_RATIO", "0.68")
    with pytest.raises(SettingsError, match=r"MEMORY_RATIO \(0\.7\).*OBSERVA_LOG_MEMORY_RATIO \(0\.68\)") as refused:
        load_settings(GatewaySettings)
    assert "\n" not in str(refused.value)


async def test_an_answer_that_was_given_up_is_gone_and_not_unknown(redis, settings):
    tag = Tag("sentiment")
    now_ms = 1_700_000_000_000
    await redis.hset(tag.answers(now_ms // MINUTE_MS - 5), "an-id", "an answer")
    await redis.hset(tag.answers(now_ms // MINUTE_MS), "another", "an answer")
    answers = Answers(redis, settings, tag)
    assert (await answers.look(now_ms)).oldest_ms == (now_ms // MINUTE_MS - 5) * MINUTE_MS
    await answers.cut(now_ms - 2 * MINUTE_MS)
    assert not await redis.exists(tag.answers(now_ms // MINUTE_MS - 5))
    assert await redis.exists(tag.answers(now_ms // MINUTE_MS))
    before_ms = await given_up_before_ms(redis, tag, "answers")
    assert now_ms - 3 * MINUTE_MS < before_ms <= now_ms - 2 * MINUTE_MS
    await note_kept(redis, tag, {"answers": 5.0})
    assert await kept_s(redis, tag) == {"answers": 5}


async def test_keys_live_for_a_day_in_a_ring_whose_oldest_goes(redis, settings):
    tag = Tag("sentiment")
    await ensure_groups(redis, tag)
    keys, log, now_ms = Keys(redis, settings, tag), Log(redis, settings), 1_700_000_000_000
    requests = [Request(id=str(PredictionId.new(tag)), text="x") for _ in range(IDEM_SLOTS)]

    async def ask(number):
        unit = Unit((requests[number],), Idempotency(f"key {number}", "body"))
        return (await log.accept(tag, [unit], backlog_limit=100))[0].status

    for turn, request in enumerate(requests):
        await keys.turn(now_ms + turn * SLOT_MS, most_bytes=MB)
        assert await ask(turn) == "accepted", request
    assert {await ask(number) for number in range(IDEM_SLOTS)} == {"replayed"}
    await keys.turn(now_ms + IDEM_SLOTS * SLOT_MS, most_bytes=MB)
    requests[0] = Request(id=str(PredictionId.new(tag)), text="x")
    assert await ask(0) == "accepted", "after a day it is another call"
    assert await ask(1) == "replayed"
    await keys.cut(now_ms + 3 * SLOT_MS)
    requests[2] = Request(id=str(PredictionId.new(tag)), text="x")
    assert await ask(2) == "accepted", "for want of memory it went before"
    assert await ask(3) == "replayed"


async def test_keys_that_take_more_than_their_part_fill_the_next_slot_before_their_time(redis, settings):
    tag = Tag("sentiment")
    keys = Keys(redis, settings, tag)
    for most_bytes, head in ((MB, 0), (MB, 0), (1, 1), (MB, 1)):
        await keys.turn(NOW_MS, most_bytes)
        assert int(await redis.hget(tag.idem_ring, "head")) == head
        await redis.hset(tag.idem(head), "key", "body|uuid")


async def test_requests_that_workers_have_not_finished_are_not_among_what_may_be_given_up(redis, settings):
    tag = Tag("sentiment")
    await ensure_groups(redis, tag)
    for age_s in (300, 200, 100):
        await redis.xadd(tag.requests, {"text": "x"}, id=f"{NOW_MS - age_s * 1000}-0")
    [[_, entries]] = await redis.xreadgroup(WORKERS, "w", {tag.requests: ">"}, count=2)
    await redis.xack(tag.requests, WORKERS, entries[0][0])
    assert (await Requests(redis, settings, tag).look(NOW_MS)).limit_ms == NOW_MS - 200_000


@pytest.mark.parametrize("freeing", [0, 1])
async def test_nothing_more_is_given_up_while_the_server_still_frees_what_was(redis, settings, freeing):
    tag = Tag(settings.model)
    for number in range(1000):
        await redis.xadd(tag.results, {"id": "x"}, id=f"{NOW_MS - 4_000_000 + number}-0")
    full = {"maxmemory": MB, "used_memory": MB, "lazyfree_pending_objects": freeing}
    await Budget(redis, settings, "me")._keep_within([tag], full, NOW_MS)
    assert (await redis.xlen(tag.results) == 1000) == bool(freeing)


async def test_a_key_of_before_the_ring_is_honoured_while_it_lives(redis, settings):
    tag = Tag("sentiment")
    await ensure_groups(redis, tag)
    first, again = (Request(id=str(PredictionId.new(tag)), text="x") for _ in range(2))
    key, body = "a" * 64, "b" * 64
    await redis.set(tag.idem(key), json.dumps({"body": body, "ids": [first.id]}))
    log = Log(redis, settings)
    for place, elsewhere in ((tag, ()), (Tag("sentiment", 1), (tag,))):
        [outcome] = await log.accept(place, [Unit((again,), Idempotency(key, body, elsewhere))], backlog_limit=9)
        assert outcome == Acceptance("replayed", (first.id,))
    [outcome] = await log.accept(tag, [Unit((again,), Idempotency(key, "another"))], backlog_limit=9)
    assert outcome.status == "conflict"


async def test_a_model_that_nobody_serves_any_more_is_within_the_budget(own_server):
    settings = BrokerSettings(redis_url=own_server.url, redis_password_file=None, model="served")
    client, gone = connect(settings, "test"), Tag("gone")
    now_ms = (await client.time())[0] * 1000
    pipeline = client.pipeline(transaction=False)
    for number in range(4000):
        pipeline.xadd(gone.results, {"id": "x" * 1000}, id=f"{now_ms - 4_000_000 + number * 1000}-0")
    await pipeline.execute()
    await client.config_set("maxmemory", 8 * MB)
    budget = Budget(client, settings, "me")
    for _ in range(5):
        await budget.keep()
    memory = await client.info("memory")
    assert memory["used_memory"] < 0.58 * 8 * MB
    assert 0 < await client.xlen(gone.results) < 4000
    assert 0 < budget.kept_s["gone"]["results"] < 7 * 24 * 3600
    assert not await client.exists(gone.idem_ring), "or its keys could not be deleted for good"
    await client.aclose()
    await client.connection_pool.disconnect()


async def test_what_somebody_else_wrote_into_a_hash_of_numbers_stops_nobody(redis, settings):
    tag, foreign = Tag(settings.model), {"a": "b", b"\xff": "1", "1": "a", "2": "1.5", "99": "3", "head": "x"}
    for key in (tag.idem_ring, tag.joined, tag.kept):
        await redis.hset(key, mapping=foreign | {"joins_before": "y"})
    await redis.set(tag.backlog, "z")
    await redis.set(tag.entry_bytes, "z")
    assert await keep_house(redis, settings, tag, "me")
    await Budget(redis, settings, "me").keep()
    await ensure_groups(redis, tag)
    assert await keep_house(redis, settings, tag, "me")
    unit = Unit((Request(id=str(PredictionId.new(tag)), text="x"),), Idempotency("key", "body"))
    [outcome] = await Log(redis, settings).accept(tag, [unit], backlog_limit=9)
    assert outcome.status == "accepted"


async def test_a_server_whose_limit_is_set_below_what_it_holds_is_relieved(own_server):
    settings = BrokerSettings(redis_url=own_server.url, redis_password_file=None)
    client, tag = connect(settings, "test"), Tag(settings.model)
    now_ms = (await client.time())[0] * 1000
    pipeline = client.pipeline(transaction=False)
    for number in range(10_000):
        pipeline.xadd(tag.results, {"id": "x" * 1000}, id=f"{now_ms - 4_000_000 + number * 100}-0")
    await pipeline.execute()
    await client.config_set("maxmemory", 8 * MB)
    with pytest.raises(OutOfMemoryError):
        await client.set("a", "word")
    budget = Budget(client, settings, "me")
    for _ in range(5):
        await budget.keep()
    assert await keep_house(client, settings, tag, "me")
    assert (await client.info("memory"))["used_memory"] < 0.58 * 8 * MB
    await client.set("a", "word")
    await client.aclose()
    await client.connection_pool.disconnect()
