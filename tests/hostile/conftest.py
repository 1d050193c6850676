"""A gateway, a worker and an explainer with the shipped linear model, and a monitor, as real processes."""

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.live.services import Process, Services
from tests.servers import RedisServer

MODEL = "sentiment-linear"


class Running:
    """What is attacked."""

    def __init__(self, services: Services, server: RedisServer) -> None:
        self.services = services
        self.worker = services.worker()
        self.monitor = services.monitor()
        self.explainer = services.explainer()
        self.gateway: Process = services.gateway()
        self.look = Redis(port=server.port, protocol=2)

    def last_words(self) -> str:
        """Return the end of the log of whatever has ended; nothing as long as all live."""
        ended = [process for process in self.services.processes if not process.alive]
        return "\n".join(f"{process.log.stem}: {process.log.read_text()[-2000:]}" for process in ended)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    services = Services(
        server,
        tmp_path_factory.mktemp("services"),
        model=MODEL,
        sync_deadline_ms=10_000,
        claim_ms=2000,
        gateway_header_timeout_s=2,
        gateway_body_timeout_s=2,
    )
    services.ship(MODEL)
    try:
        running = Running(services, server)
        yield running
        running.look.close()
    finally:
        services.stop()
        server.kill()
