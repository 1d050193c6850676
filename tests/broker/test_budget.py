"""One budget for the whole server: the oldest goes, and nobody is refused while workers keep up."""

import pytest

from broker.connection import connect
from broker.settings import BrokerSettings
from tests.broker.traffic import Model, World, turn_the_clock

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
