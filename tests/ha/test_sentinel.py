"""Servers and Sentinels that ask for passwords of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from broker.connection import check_server, connect
from broker.errors import BrokerUnavailableError
from broker.events import Request
from broker.groups import ensure_groups
from broker.log import Log, Unit
from broker.settings import BrokerSettings
from broker.streams import PredictionId, Tag
from deploy.redis.__main__ import make_users
from tests.ha.topologies import Node, SentinelTrio
from tests.servers import PROGRAMS, eventually


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """A server and a Sentinel with a password each; the URL of both."""
    nodes = [Node(PROGRAMS["valkey"], tmp_path / "server", "--requirepass", "of-the-server")]
    watch = (f"sentinel monitor log 127.0.0.1 {nodes[0].port} 1", "sentinel auth-pass log of-the-server")
    nodes.append(Node(PROGRAMS["valkey"], tmp_path / "sentinel", *watch, "requirepass of-the-sentinel", sentinel=True))
    yield f"redis+sentinel://127.0.0.1:1,127.0.0.1:{nodes[1].port}/log"
    for node in nodes:
        node.kill()


@pytest.mark.parametrize("right", [True, False])
async def test_the_sentinels_password_is_another_than_the_servers(guarded, tmp_path, right):
    of_server, of_sentinel = tmp_path / "server.password", tmp_path / "sentinel.password"
    of_server.write_text("of-the-server")
    of_sentinel.write_text("of-the-sentinel" if right else "guessed")
    settings = BrokerSettings(
        redis_url=guarded, redis_password_file=of_server, redis_sentinel_password_file=of_sentinel
    )
    client = connect(settings, "test")
    if right:
        await check_server(client, settings)
    else:
        with pytest.raises(
            BrokerUnavailableError, match=r"no Sentinel names a primary called log.*SENTINEL_PASSWORD_FILE"
        ):
            await check_server(client, settings)
    await client.aclose()


async def test_users_of_their_own_are_enough_for_replication_a_takeover_and_waiting_for_replicas(tmp_path):
    users = make_users(tmp_path / "users")
    users.write_text(users.read_text() + "user root on >root ~* &* +@all\n")
    trio = SentinelTrio("redis", tmp_path, users.parent)
    settings = BrokerSettings(
        redis_url=trio.url,
        redis_user="gateway",
        redis_password_file=users.parent / "gateway.password",
        durability="replica",
    )
    client, tag = connect(settings, "test"), Tag("toy")
    log = Log(client, settings)

    async def accepted() -> bool:
        request = Request(id=str(PredictionId.new(tag)), text="good", deadline_ms=1000)
        try:
            return bool(await log.accept(tag, [Unit((request,))], backlog_limit=10))
        except RedisError:
            return False

    try:
        await ensure_groups(client, tag)
        assert await accepted()
        trio.primary().kill()
        await eventually(accepted, "the next primary accepts what its replica has")
        with trio.look() as look:
            assert look.xlen(tag.requests) >= 2
            assert [entry["username"] for entry in look.acl_log() if "setinfo" not in entry["object"]] == []
    finally:
        await client.aclose()
        trio.stop()
