import asyncio
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from broker.announcements import Announcement, ServedVersion, announce, announcements, served_models
from broker.backoff import Backoff
from broker.claims import SUSPECTED_S, claim, idle_entries, survived
from broker.connection import Clock, check_server, connect
from broker.errors import BrokerUnavailableError, SettingsError, UnsafeServerError, WrongKeyTypeError
from broker.groups import ensure_groups
from broker.inspection import group_states
from broker.janitor import keep_house
from broker.settings import BrokerSettings, load_settings
from broker.streams import MONITOR, WORKERS, PredictionId, Tag

TAG = Tag("sentiment")


async def add(redis, count=1, at=None):
    return [await redis.xadd(TAG.requests, {"text": f"text {n}"}, id=at or "*") for n in range(count)]


async def deliver(redis, consumer="dead-worker", count=10):
    await redis.xreadgroup(WORKERS, consumer, {TAG.requests: ">"}, count=count)


async def test_an_entry_older_than_its_group_is_delivered(redis):
    await add(redis)
    await ensure_groups(redis, TAG)
    assert await redis.xreadgroup(WORKERS, "w", {TAG.requests: ">"})


async def test_the_mark_of_birth_changes_only_with_the_log(redis):
    born = await ensure_groups(redis, TAG)
    assert await ensure_groups(redis, TAG) == born
    await redis.flushall()
    assert await ensure_groups(redis, TAG) != born


async def test_a_request_key_of_another_type_is_named_with_the_way_out(redis):
    await redis.set(TAG.requests, "x")
    with pytest.raises(WrongKeyTypeError, match="just redis DEL"):
        await ensure_groups(redis, TAG)


async def test_an_idle_entry_is_taken_over_once_with_its_count_of_deliveries(redis, settings):
    settings = settings.model_copy(update={"claim_ms": 200})
    await ensure_groups(redis, TAG)
    [entry] = await add(redis)
    await deliver(redis)
    assert await idle_entries(redis, TAG, settings) == []
    await asyncio.sleep(0.25)
    [(entry_id, deliveries)] = await idle_entries(redis, TAG, settings)
    assert (entry_id, deliveries) == (entry.decode(), 1)
    claimed, late = await asyncio.gather(
        claim(redis, TAG, "a", entry_id, settings), claim(redis, TAG, "b", entry_id, settings)
    )
    assert (claimed is None) != (late is None)
    assert (claimed or late).deliveries == 1
    assert (claimed or late).fields == {b"text": b"text 0"}


async def test_a_taker_that_does_not_come_back_is_a_death_for_the_next_and_one_that_does_is_none(redis, settings):
    settings = settings.model_copy(update={"claim_ms": 0})
    await ensure_groups(redis, TAG)
    [entry] = [found.decode() for found in await add(redis)]
    await deliver(redis)
    deaths = []
    for taker in ("a", "b", "a", "c"):
        claimed = await claim(redis, TAG, taker, entry, settings)
        deaths.append(claimed.deaths)
        if taker == "b":
            await survived(redis, TAG, taker, entry)
    assert deaths == [0, 1, 0, 1]
    assert SUSPECTED_S - 60 < await redis.ttl(TAG.suspects(entry)) <= SUSPECTED_S


async def test_idle_entries_come_in_pages(redis, settings, monkeypatch):
    monkeypatch.setattr("broker.claims.AT_ONCE", 2)
    settings = settings.model_copy(update={"claim_ms": 0})
    await ensure_groups(redis, TAG)
    entries = [entry.decode() for entry in await add(redis, 3)]
    await deliver(redis)
    first = [entry for entry, _ in await idle_entries(redis, TAG, settings)]
    assert first == entries[:2]
    assert [entry for entry, _ in await idle_entries(redis, TAG, settings, after=first[-1])] == entries[2:]


async def test_an_entry_trimmed_while_pending_is_counted_as_a_gap(redis, settings):
    settings = settings.model_copy(update={"claim_ms": 0})
    await ensure_groups(redis, TAG)
    [entry] = await add(redis)
    await deliver(redis)
    await redis.xdel(TAG.requests, entry)
    assert await claim(redis, TAG, "a", entry.decode(), settings) is None
    assert await redis.hget(TAG.gaps, "requests/workers") == b"1"
    assert (await redis.xpending(TAG.requests, WORKERS))["pending"] == 0


async def test_trimming_spares_what_is_pending_unread_or_young(redis, settings):
    settings = settings.model_copy(update={"text_retention_h": 1})
    await ensure_groups(redis, TAG)
    now = int(time.time() * 1000)
    for n, age_h in enumerate([5, 4, 3, 2, 0]):
        await redis.xadd(TAG.requests, {"text": str(n)}, id=f"{now - age_h * 3_600_000}-{n}")
    [[_, entries]] = await redis.xreadgroup(WORKERS, "w", {TAG.requests: ">"}, count=3)
    await redis.xack(TAG.requests, WORKERS, entries[0][0], entries[2][0])
    await keep_house(redis, settings, TAG, "me")
    assert [fields[b"text"] for _, fields in await redis.xrange(TAG.requests)] == [b"1", b"2", b"3", b"4"]
    await redis.xack(TAG.requests, WORKERS, entries[1][0])
    await deliver(redis)
    await redis.xack(TAG.requests, WORKERS, *[entry for entry, _ in await redis.xrange(TAG.requests)])
    await keep_house(redis, settings, TAG, "me")
    assert [fields[b"text"] for _, fields in await redis.xrange(TAG.requests)] == [b"4"]


async def test_results_wait_for_the_monitor_and_past_their_cap_the_gap_is_counted(redis, settings):
    settings = settings.model_copy(update={"results_retention_h": 1, "results_max_mb": 1})
    await redis.xgroup_create(TAG.results, MONITOR, id="0", mkstream=True)
    now = int(time.time() * 1000)
    pipeline = redis.pipeline()
    for n in range(4000):
        pipeline.xadd(TAG.results, {"id": "x" * 100}, id=f"{now - 7_200_000 + n}-0")
    await pipeline.execute()
    await keep_house(redis, settings, TAG, "me")
    assert await redis.xlen(TAG.results) == 4000
    pipeline = redis.pipeline()
    for n in range(8000):
        pipeline.xadd(TAG.results, {"id": "x" * 200}, id=f"{now - 7_100_000 + n}-0")
    await pipeline.execute()
    await keep_house(redis, settings, TAG, "me")
    kept = await redis.xlen(TAG.results)
    assert kept < 12_000
    assert await redis.hget(TAG.gaps, "results/monitor") == str(12_000 - kept).encode()


async def test_one_janitor_at_a_time(redis, settings):
    await ensure_groups(redis, TAG)
    await keep_house(redis, settings, TAG, "me")
    await redis.set(TAG.backlog, "77")
    await keep_house(redis, settings, TAG, "other")
    assert await redis.get(TAG.backlog) == b"77"
    await keep_house(redis, settings, TAG, "me")
    assert await redis.get(TAG.backlog) == b"0"


async def test_the_backlog_counts_what_others_added_too(redis, settings):
    await ensure_groups(redis, TAG)
    await add(redis, 5)
    await deliver(redis, count=2)
    await keep_house(redis, settings, TAG, "me")
    assert await redis.get(TAG.backlog) == b"5"


async def test_an_unknown_lag_leaves_the_counter_alone(redis, settings):
    await ensure_groups(redis, TAG)
    entries = await add(redis, 5)
    await deliver(redis, count=1)
    await redis.xdel(TAG.requests, entries[2])
    await redis.set(TAG.backlog, "4")
    await keep_house(redis, settings, TAG, "me")
    assert await redis.get(TAG.backlog) == b"4"
    [state] = await group_states(redis, TAG)
    assert (state.lag, state.pending) == (None, 1)


async def test_join_rows_past_their_memory_cap_go_oldest_hour_first(redis, settings):
    settings = settings.model_copy(update={"joins_max_mb": 1})
    hour = int(time.time() // 3600)
    old, young = TAG.joins((hour - 2) * 3600 + 5), TAG.joins(hour * 3600 + 60)
    await redis.hset(old, "a", "row")
    await redis.hset(young, "b", "row")
    await redis.hset(TAG.joined, mapping={str(hour - 500): 9, str(hour - 2): 10_000, str(hour): 5000})
    await keep_house(redis, settings, TAG, "me")
    assert (await redis.exists(old), await redis.exists(young)) == (0, 1)
    assert await redis.hgetall(TAG.joined) == {str(hour).encode(): b"5000"}


async def test_the_memory_cap_of_join_rows_is_by_what_they_really_take(redis, settings):
    settings = settings.model_copy(update={"joins_max_mb": 1})
    hour = int(time.time() // 3600)
    count = {str(hour - 1): 4000, str(hour): 4000}
    await redis.hset(TAG.joined, mapping=count)
    for second in range(0, 3600, 60):  # a hundred small rows a second: 75 bytes each, all together fit
        await redis.hset(TAG.joins(hour * 3600 + second), mapping={str(i): "x" * 40 for i in range(100)})
    await keep_house(redis, settings, TAG, "me")
    assert await redis.hlen(TAG.joined) == 2
    for second in range(0, 3600, 60):  # rows with tags are larger, and no longer do
        await redis.hset(TAG.joins(hour * 3600 + second), mapping={str(i): "x" * 200 for i in range(100)})
    await keep_house(redis, settings, TAG, "me")
    assert await redis.hkeys(TAG.joined) == [str(hour).encode()]


async def test_a_consumer_that_is_gone_is_removed_and_none_that_holds_something_or_read_of_late(
    redis, settings, monkeypatch
):
    async def left():
        await keep_house(redis, settings, TAG, "me")
        return [consumer["name"] for consumer in await redis.xinfo_consumers(TAG.requests, WORKERS)]

    await ensure_groups(redis, TAG)
    await add(redis)
    await deliver(redis, "holder")
    await redis.xgroup_createconsumer(TAG.requests, WORKERS, "idle")
    assert await left() == [b"holder", b"idle"]
    monkeypatch.setattr("broker.janitor.CONSUMER_GONE_MS", -1)
    assert await left() == [b"holder"]


async def test_a_group_state_tells_lag_pending_and_age(redis):
    await ensure_groups(redis, TAG)
    assert [(s.lag, s.pending, s.oldest_ms) for s in await group_states(redis, TAG)] == [(0, 0, None)]
    await add(redis, 3)
    await deliver(redis, count=1)
    await asyncio.sleep(0.05)
    [state] = await group_states(redis, TAG)
    assert (state.stream, state.group, state.lag, state.pending, state.consumers) == ("requests", WORKERS, 2, 1, 1)
    assert 50 <= state.oldest_ms < 5000


async def test_workers_are_found_by_what_they_announced(redis):
    version = ServedVersion(
        labels=("no", "yes"), max_length=128, digest="d", target_accuracy=0.8, metrics={"accuracy": 0.9}
    )
    said = Announcement(worker="w", live="1", versions={"1": version}, texts_per_second=10, seen_ms=1_000_000)
    await announce(redis, "sentiment", said)
    await redis.hset("observa:{sentiment}:workers", "odd", "{")
    assert await announcements(redis, "sentiment") == [said]
    assert await served_models(redis) == ["sentiment"]
    assert said.is_live(1_014_000)
    assert not said.is_live(1_016_000)
    assert not said.model_copy(update={"leaving": True}).is_live(1_000_000)


async def test_the_clock_is_that_of_redis(redis):
    clock = Clock()
    await clock.sync(redis)
    seconds, microseconds = await redis.time()
    assert abs(clock.now_ms() - seconds * 1000 - microseconds / 1000) < 500


async def test_a_lost_reply_is_an_error_and_not_a_second_command(own_server):
    client = connect(BrokerSettings(redis_url=own_server.url, redis_password_file=None), "test")
    await client.ping()
    own_server.kill()
    with pytest.raises(RedisConnectionError):
        await client.xadd("s", {"a": "b"})
    own_server.start()
    assert await client.xlen("s") == 0
    await client.aclose()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--maxmemory-policy", "allkeys-lru"), "CONFIG SET maxmemory-policy noeviction"),
        (("--appendonly", "no"), "CONFIG SET appendonly yes"),
        (("--requirepass", "secret"), "OBSERVA_REDIS_PASSWORD_FILE|authenticat"),
    ],
)
async def test_an_unsafe_server_is_refused_in_one_line_that_says_what_to_do(own_server, options, why):
    settings = BrokerSettings(redis_url=own_server.url, redis_password_file=None)
    client = connect(settings, "test")
    await check_server(client, settings)
    await client.config_set(options[0][2:], options[1])
    fresh = connect(settings, "test")
    with pytest.raises((UnsafeServerError, BrokerUnavailableError), match=why) as refused:
        await check_server(fresh, settings)
    assert "\n" not in str(refused.value)
    await client.aclose()
    await fresh.aclose()


async def test_a_server_that_is_not_there_is_named_with_the_next_command():
    settings = BrokerSettings(redis_url="redis://127.0.0.1:1/0", redis_password_file=None)
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1/0 cannot be reached.*just up"):
        await check_server(connect(settings, "test"), settings)


async def test_waiting_grows_and_stays_below_its_limit(monkeypatch):
    waits = []

    async def remember(seconds):
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", remember)
    backoff = Backoff(0.1, 1.0)
    for _ in range(6):
        await backoff.wait()
    backoff.reset()
    await backoff.wait()
    assert all(low <= wait <= low * 2 for wait, low in zip(waits, [0.05, 0.1, 0.2, 0.4, 0.5, 0.5, 0.05], strict=True))


def test_the_password_file_completes_the_url(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("p@ss/word\n")
    settings = BrokerSettings(redis_url="redis://10.0.0.1:6379/2", redis_password_file=secret)
    assert settings.url_with_password == "redis://default:p%40ss%2Fword@10.0.0.1:6379/2"
    explicit = BrokerSettings(redis_url="redis://u:x@10.0.0.1:6379/2", redis_password_file=secret)
    assert explicit.url_with_password == "redis://u:x@10.0.0.1:6379/2"


def test_ids_of_one_second_share_a_join_hash():
    ident = PredictionId.of_entry(TAG, "1795384412453-0")
    assert ident.joins_key == TAG.joins(1795384412)
    assert ident.answers_key == TAG.answers(1795384412 // 60)


def test_the_embedded_servers_password_is_never_sent_to_another_server(tmp_path):
    (tmp_path / "redis.password").write_text("secret")
    assert BrokerSettings(data_dir=tmp_path).url_with_password == "redis://default:secret@127.0.0.1:6380/0"
    assert "secret" not in BrokerSettings(data_dir=tmp_path, redis_url="redis://10.0.0.1:6379/0").url_with_password


def test_a_missing_password_file_is_named(tmp_path):
    settings = BrokerSettings(redis_url="redis://10.0.0.1:6379/0", redis_password_file=tmp_path / "gone")
    with pytest.raises(SettingsError, match="OBSERVA_REDIS_PASSWORD_FILE"):
        _ = settings.url_with_password


def test_a_wrong_setting_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv("OBSERVA_SHARDS", "many")
    monkeypatch.setenv("OBSERVA_REDIS_URL", "http://127.0.0.1")
    with pytest.raises(SettingsError, match=r"OBSERVA_REDIS_URL: .*redis://.*OBSERVA_SHARDS") as refused:
        load_settings(BrokerSettings)
    assert "\n" not in str(refused.value)
