"""A client of several servers opens no more connections with time than it needs at once."""

from redis.exceptions import RedisError

from broker.connection import connect
from broker.settings import BrokerSettings
from broker.streams import Tag
from tests.broker.script_users import use_each_script
from tests.ha.topologies import Topology
from tests.servers import eventually


def connections(topology: Topology) -> int:
    """How many the client has at all servers; a Sentinel does not tell."""
    found = 0
    for node in topology.nodes:
        try:
            found += str(node.ask("CLIENT", "LIST")).count("name=observa-many-scripts")
        except RedisError:
            continue
    return found


async def test_scripts_open_no_connection_that_stays(topology):
    settings = BrokerSettings(redis_url=topology.url, redis_password_file=None)
    client = connect(settings, "many-scripts")
    tags = [Tag("toy", shard) for shard in range(4)]

    async def use_all() -> bool:
        for tag in tags:
            await use_each_script(client, settings, tag)
        return True

    await use_all()
    after_one = connections(topology)
    assert after_one
    for _ in range(10):
        await use_all()
    assert connections(topology) == after_one
    await client.aclose()

    async def closed() -> bool:
        return connections(topology) == 0

    await eventually(closed, "all are closed")
