"""The client of a cluster: every key finds its server, also after it moved, and what a replica has is told apart."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from broker.answers import encode_error
from broker.cluster import primaries
from broker.connection import check_replicas, check_server, connect
from broker.errors import BrokerUnavailableError, UnsafeServerError, WrongKeyTypeError
from broker.events import Request, Result
from broker.forgetting import forget
from broker.groups import ensure_groups
from broker.log import Idempotency, Log, NotReplicatedError, Unit
from broker.settings import BrokerSettings
from broker.settlement import Settlement
from broker.slots import slot_of
from broker.streams import WORKERS, PredictionId, Tag
from tests.ha.topologies import Cluster, Node
from tests.servers import RedisServer, eventually, wait_until

TAGS = [Tag("toy", shard) for shard in range(4)]


@pytest.fixture
def settings(cluster: Cluster) -> BrokerSettings:
    return BrokerSettings(redis_url=cluster.url, redis_password_file=None, durability="replica")


@pytest.fixture
async def redis(cluster: Cluster, settings: BrokerSettings) -> AsyncIterator[Redis]:
    for node in cluster.nodes:
        if node.replication()["role"] == "master":
            node.ask("FLUSHALL")
    client = connect(settings, "test")
    yield client
    await client.aclose()


def unit(tag: Tag, key: str | None = None) -> Unit:
    request = Request(id=str(PredictionId.new(tag)), text="good", deadline_ms=30_000)
    return Unit((request,), Idempotency(key, "body") if key else None)


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "a"), "a"),
        (("XINFO GROUPS", "a"), "a"),
        (("XINFO", "GROUPS", "a"), "a"),
        (("XGROUP CREATE", "a", "g", "0"), "a"),
        (("MEMORY USAGE", "a"), "a"),
        (("XREAD", "BLOCK", 5, b"STREAMS", "a", "0"), "a"),
        (("XREADGROUP", "GROUP", "g", "c", b"STREAMS", "a", ">"), "a"),
        (("EVALSHA", "0" * 40, 1, "a", "b"), "a"),
        (("SET", b"a", 1), "a"),
        (("EVALSHA", "0" * 40, 0, "b"), None),
        (("SCRIPT LOAD", "return 1"), None),
        (("CONFIG GET", "save"), None),
        (("PING",), None),
        (("WAIT", 1, 10), None),
    ],
)
def test_the_key_of_a_command_is_found(command, key):
    assert slot_of(command) == (None if key is None else slot_of(("GET", key)))


async def test_one_call_spans_shards_that_are_on_different_servers(cluster, redis, settings):
    log, ids = Log(redis, settings), []
    for tag in TAGS:
        await ensure_groups(redis, tag)
        (accepted,) = await log.accept(tag, [unit(tag, f"key {tag}")], backlog_limit=10)
        ids += [PredictionId.parse(one) for one in accepted.ids]
    assert len({cluster.primary(tag.requests).port for tag in TAGS}) > 1
    assert await log.answers(ids) == [b"pending"] * 4
    again = Unit(unit(TAGS[0]).requests, Idempotency(f"key {TAGS[3]}", "body", tuple(TAGS[1:])))
    outcomes = await log.accept(TAGS[0], [again, unit(TAGS[0])], backlog_limit=10)
    assert [(one.status, one.ids == (str(ids[3]),)) for one in outcomes] == [("replayed", True), ("accepted", False)]
    assert {key async for key in redis.scan_iter(match="observa:*:requests")} == {tag.requests.encode() for tag in TAGS}
    forgotten = await forget(redis, TAGS, {str(ids[2])}, wait_s=0, now=True)
    assert (forgotten.erased["requests"], forgotten.erased["idempotency keys"]) == (1, 1)
    with pytest.raises(RedisError, match="one slot"):
        await redis.pipeline(transaction=True).get(TAGS[0].born).get(TAGS[1].born).execute()


async def test_a_key_that_is_not_ours_is_named_there_too(redis, settings):
    await redis.set(TAGS[1].requests, "foreign")
    with pytest.raises(WrongKeyTypeError, match="toy/1"):
        await Log(redis, settings).accept(TAGS[1], [unit(TAGS[1])], backlog_limit=10)


async def test_every_primary_must_be_safe(cluster, redis, settings):
    await check_server(redis, settings)
    await check_replicas(redis, settings)
    assert len(await primaries(redis)) == 3
    node = cluster.primary(TAGS[2].requests)
    node.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(UnsafeServerError, match=f"{node.port} may evict"):
            await check_server(redis, settings)
    finally:
        node.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_a_url_of_the_wrong_kind_is_told_what_is_right(cluster, server: RedisServer):
    single = server.url.removeprefix("redis://").removesuffix("/0")
    for url, error, told in (
        (f"redis://127.0.0.1:{cluster.nodes[0].port}/0", UnsafeServerError, "redis\\+cluster"),
        (f"redis+cluster://{single}", BrokerUnavailableError, "is no cluster"),
        (f"redis+sentinel://{single}/observa", BrokerUnavailableError, "is no Sentinel"),
    ):
        settings = BrokerSettings(redis_url=url, redis_password_file=None)
        client = connect(settings, "test")
        with pytest.raises(error, match=told):
            await check_server(client, settings)
        await client.aclose()


async def test_a_server_without_a_replica_is_no_place_for_durability_by_replica(server: RedisServer):
    settings = BrokerSettings(redis_url=server.url, redis_password_file=None, durability="replica")
    client = connect(settings, "test")
    with pytest.raises(UnsafeServerError, match="no replica"):
        await check_replicas(client, settings)
    await client.aclose()


async def test_what_no_replica_has_is_not_called_accepted_however_often_it_is_asked(cluster, redis, settings):
    tag, log = TAGS[0], Log(redis, settings)
    sent = unit(tag, "a key")
    replica = _replica(cluster, cluster.primary(tag.requests))
    replica.signal(signal.SIGSTOP)
    try:
        for _ in range(2):  # the second call writes nothing new
            with pytest.raises(NotReplicatedError):
                await log.accept(tag, [sent], backlog_limit=10)
    finally:
        replica.signal(signal.SIGCONT)
    await eventually(lambda: _accepted(log, tag, sent), "it is accepted once the replica is back")
    assert await redis.xlen(tag.requests) == 1
    wait_until(cluster.in_sync, "the cluster is whole again", 30)


async def _accepted(log: Log, tag: Tag, sent: Unit) -> bool:
    try:
        (outcome,) = await log.accept(tag, [sent], backlog_limit=10)
    except RedisError:
        return False
    return outcome.ids == (sent.requests[0].id,)


async def test_a_full_server_still_lets_results_out_while_replicas_are_waited_for(cluster, redis, settings):
    tag, log, node = TAGS[3], Log(redis, settings), cluster.primary(TAGS[3].requests)
    await ensure_groups(redis, tag)
    await log.accept(tag, [unit(tag)], backlog_limit=10)
    ((_, [(entry, fields)]),) = await redis.xreadgroup(WORKERS, "me", {tag.requests: ">"})
    request = Request.from_entry(tag, entry.decode(), fields)
    result = Result(id=request.id, version="1", status="error", code="inference_failed", worker="me", queue_ms=0)
    node.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        settlement = Settlement(entry.decode(), request, result, encode_error(request.id, "inference_failed"))
        assert await log.settle(tag, [settlement]) == [True]
        assert await redis.xlen(tag.results) == 1
    finally:
        node.ask("CONFIG", "SET", "maxmemory", 0)


def _replica(cluster: Cluster, primary: Node) -> Node:
    return next(node for node in cluster.nodes if node.replication().get("master_port") == primary.port)


async def test_commands_follow_a_key_that_moves_and_a_primary_that_changes(cluster, redis, settings):
    tag, log = TAGS[1], Log(redis, settings)
    await ensure_groups(redis, tag)
    await log.accept(tag, [unit(tag)], backlog_limit=10)
    old = cluster.primary(tag.requests)
    new = next(n for n in cluster.nodes if n.replication()["role"] == "master" and n is not old)
    slot = slot_of(("GET", tag.requests))
    new_id, old_id = new.ask("CLUSTER MYID"), old.ask("CLUSTER MYID")
    new.ask("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
    old.ask("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
    assert await redis.get(tag.key("elsewhere")) is None  # asked for there, since it is not here
    assert await redis.pipeline(transaction=False).get(tag.key("elsewhere")).get(tag.born).execute()
    keys = [key async for key in redis.scan_iter(match=f"observa:{tag}:*")]
    for key in keys[1:]:
        old.ask("MIGRATE", "127.0.0.1", new.port, key.decode(), 0, 5000)
    with pytest.raises(RedisConnectionError):  # some keys are here and some there: to be tried again
        await log.accept(tag, [unit(tag)], backlog_limit=10)
    old.ask("MIGRATE", "127.0.0.1", new.port, keys[0].decode(), 0, 5000)
    for node in (new, old):
        node.ask("CLUSTER SETSLOT", slot, "NODE", new_id)
    assert [a.status for a in await log.accept(tag, [unit(tag)], backlog_limit=10)] == ["accepted"]
    assert await redis.xlen(tag.requests) == 2
    _replica(cluster, new).ask("CLUSTER FAILOVER")
    wait_until(lambda: new.replication()["role"] == "slave", "the replica has taken over")
    await eventually(lambda: _accepted(log, tag, unit(tag)), "the new primary accepts")
    assert await redis.xlen(tag.requests) == 3
    await asyncio.to_thread(wait_until, cluster.in_sync, "the cluster is whole again", 30)
