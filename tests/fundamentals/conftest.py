"""One whole system for the tour, started once: a server, a gateway, a worker with a shipped model, a monitor."""

from collections.abc import Iterator

import httpx
import pytest
from redis import Redis

from tests.live.services import Services
from tests.servers import RedisServer

MODEL = "sentiment"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    services = Services(server, tmp_path_factory.mktemp("services"), model=MODEL)
    services.ship(MODEL)
    yield services
    services.stop()
    server.kill()


@pytest.fixture(scope="module")
def gateway(services: Services) -> Iterator[httpx.Client]:
    services.worker()
    with httpx.Client(base_url=services.gateway().url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def monitor(services: Services) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=services.monitor().url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def redis(services: Services) -> Iterator[Redis]:
    """What redis-cli would show."""
    client = Redis(port=services.server.port, protocol=2, decode_responses=True)
    yield client
    client.close()
