"""Real servers for tests, started and stopped by the tests themselves."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from broker.connection import connect
from broker.settings import BrokerSettings
from tests.servers import RedisServer

hypothesis.settings.register_profile("any-machine", deadline=None)  # no example fails by the clock
hypothesis.settings.load_profile("any-machine")
# A developer's settings, `.env` among them, must not change what tests find, nor reach what tests of a module share.
for _name in [name for name in os.environ if name.startswith(("OBSERVA_", "OTEL_"))]:
    del os.environ[_name]
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # tests import ONNX Runtime without the worker's shell


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the files, begin with those of real processes: none is left alone at the end."""
    if hasattr(config, "workerinput"):
        long = {item.path for item in items if item.get_closest_marker("live")}
        items.sort(key=lambda item: item.path not in long)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test or the library under it left in the environment must not change what the next one finds."""
    for name in [name for name in os.environ if name.startswith(("OBSERVA_", "OTEL_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(running_server: RedisServer) -> RedisServer:
    """The session's server, emptied; a test that stops it must start it again."""
    with SyncRedis(port=running_server.port) as client:
        client.flushall()
        client.config_resetstat()
    return running_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for tests that kill, fill or restart it."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def settings(server: RedisServer) -> BrokerSettings:
    return BrokerSettings(redis_url=server.url, redis_password_file=None)


@pytest.fixture
async def redis(settings: BrokerSettings) -> AsyncIterator[Redis]:
    client = connect(settings, "test")
    yield client
    await client.aclose()
    await client.connection_pool.disconnect()
