"""Commands run as a person runs them: by name, against servers on free ports."""

from collections.abc import Iterator

import pytest

from cli.__main__ import main
from tests.cli.commands import Just
from tests.cli.stub_gateway import Served, StubGateway
from tests.servers import RedisServer
from tests.takeover import pair, servers  # noqa: F401 fixtures


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubGateway]:
    gateway = StubGateway()
    with Served(gateway) as served:
        monkeypatch.setenv("OBSERVA_GATEWAY_URL", served.url)
        monkeypatch.setenv("OBSERVA_MONITOR_URL", served.url)
        gateway.url = served.url
        yield gateway


@pytest.fixture
def log_of_commands(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)


@pytest.fixture
def just(capsys: pytest.CaptureFixture[str]) -> Just:
    """Run one command: status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(arguments)
        return status, *capsys.readouterr()

    return run
