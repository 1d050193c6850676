"""Several servers at once: `just failover` runs the long form, with both engines and fail-over after fail-over.

`just failover --count 100` does nothing else a hundred times, in a cluster and under Sentinels.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.conftest import trial  # noqa: F401 fixture
from tests.ha.topologies import TOPOLOGIES, Cluster, Topology
from tests.live.services import Process, Services, make_model
from tests.servers import PROGRAMS

MODEL = "strange"
LONG = os.environ.get("FAULTS_LONG") == "1"
SHORT = (("cluster", "valkey"), ("sentinel", "redis" if "redis" in PROGRAMS else "valkey"))
ALL = tuple((kind, engine) for kind in TOPOLOGIES for engine in PROGRAMS)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--count", type=int, metavar="N", help="tests/ha: only fail-overs, N of each kind")


def _count(config: pytest.Config) -> int | None:
    return config.getoption("--count", default=None)  # unknown where pytest was told to run all of tests


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    count = _count(config)
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)
            item.add_marker(pytest.mark.timeout(300 + 60 * count if count else 900 if LONG else 300))
    if count:
        items[:] = [item for item in items if "failovers" in getattr(item, "fixturenames", ())]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "topology" in metafunc.fixturenames:
        kinds = ALL if LONG and not _count(metafunc.config) else SHORT
        metafunc.parametrize("topology", kinds, indirect=True, ids="-".join)


@pytest.fixture
def failovers(pytestconfig: pytest.Config) -> range:
    """Numbers of the fail-overs: the primary of an even one is killed, that of an odd one stands still for a while."""
    return range(1, 1 + (_count(pytestconfig) or (5 if LONG else 2)))


@pytest.fixture
def topology(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Topology]:
    """Servers of the test's own, since it kills some."""
    kind, engine = request.param
    topology: Topology = TOPOLOGIES[kind](engine, tmp_path)
    yield topology
    topology.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that is whole again after each test."""
    cluster = Cluster("valkey", tmp_path_factory.mktemp("cluster"), replicas=1)
    yield cluster
    cluster.stop()


@pytest.fixture
def services(topology: Topology, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Services of four shards that say "accepted" only of what a replica has."""
    folder = tmp_path_factory.mktemp("services")
    services = Services(topology, folder, claim_ms=1000, model=MODEL, shards=4, durability="replica")
    make_model(services.models, MODEL)
    yield services
    services.stop()


async def counted(monitor: Process) -> int:
    """Return how many results of all shards the monitor has counted, also before it was restarted."""
    async with httpx.AsyncClient() as client:
        report = (await client.get(f"{monitor.url}/report", params={"model": MODEL})).json()
    return sum(sum(version["totals"].values()) for version in report["versions"].values())
