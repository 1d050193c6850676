"""Fixtures of the tests that run the real services."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.live.services import Services, make_model
from tests.servers import RedisServer

MODEL = "strange"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_live(items, Path(__file__).parent, timeout_s=300)


def mark_live(items: list[pytest.Item], folder: Path, timeout_s: int) -> None:
    """Mark the tests of *folder* as those that run real services, with a limit where they have none of their own."""
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.live)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(timeout_s))


@pytest.fixture
def services(own_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A server and a store with one model; entries of a dead worker are taken over after a second."""
    services = Services(own_server, tmp_path_factory.mktemp("services"), claim_ms=1000, model=MODEL)
    make_model(services.models, MODEL)
    yield services
    services.stop()


@pytest.fixture
def look(own_server: RedisServer) -> Iterator[Redis]:
    """What a person with redis-cli sees."""
    client = Redis(port=own_server.port, protocol=2)
    yield client
    client.close()
