"""The tests of what Observa guarantees when parts fail. `just faults` runs their long form."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from tests.live.services import Services, make_model
from tests.servers import RedisServer

LONG = os.environ.get("FAULTS_LONG") == "1"
MODEL = "strange"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)
            item.add_marker(pytest.mark.timeout(3600 if LONG else 120))


@dataclass(frozen=True)
class Trial:
    """One run of a test: short for every change or long, its seed, and what it measured."""

    name: str
    seed: int

    @staticmethod
    def scale(short: float, long: float) -> float:
        """Choose by the form of the run."""
        return long if LONG else short

    def figure(self, **numbers: object) -> None:
        """Print what was measured; `just faults` shows it."""
        said = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in numbers.items()
        )
        print(f"\nfigure {self.name}: {said}")


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    """Everything that is left to chance follows from the seed; FAULTS_SEED sets another one."""
    chosen = Trial(request.node.name, int(os.environ.get("FAULTS_SEED", "1")))
    print(f"seed {chosen.seed}")
    return chosen


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
