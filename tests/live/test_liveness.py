"""What each service answers to the question whether it is to be started anew."""

import asyncio
from types import SimpleNamespace

import httpx
import pytest

import archive.app
import monitor.app
import worker.app
from broker.duties import Duties, Pulse
from gateway.app import create_app
from gateway.settings import GatewaySettings
from tests.live.services import Services
from tests.servers import RedisServer, free_port, wait_until
from worker.settings import WorkerSettings


def application(service: str, duties: Duties) -> tuple[object, str]:
    """The HTTP side of *service* around *duties*, and its path."""
    parts = SimpleNamespace(duties=duties, reports=list)
    match service:
        case "worker":
            return worker.app.shell(WorkerSettings(), parts), "/livez"
        case "gateway":
            app = create_app(GatewaySettings())
            app.state.gateway = parts
            return app, "/healthz"
        case "monitor":
            return monitor.app.application(parts, None), "/livez"
        case _:
            return archive.app.application(parts), "/livez"


@pytest.mark.parametrize("service", ["worker", "gateway", "monitor", "archive"])
async def test_a_reader_that_hangs_shows_and_a_server_that_is_away_does_not(service):
    duties = Duties()
    app, path = application(service, duties)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get(path)).status_code == 200
        hanging = duties.begin(asyncio.Event().wait(), Pulse(still_s=0))
        await asyncio.sleep(0.01)
        assert (await client.get(path)).status_code == 503
        await duties.end([hanging])


@pytest.mark.parametrize("module", ["gateway", "monitor", "archive", "worker.explaining"])
def test_a_start_that_waits_for_redis_ends_at_once_when_it_is_told_to(tmp_path, module):
    services = Services(RedisServer(tmp_path), tmp_path, archive=tmp_path / "archive")  # a server that never starts
    port = free_port()
    variable = {"worker.explaining": "EXPLAINER_PORT"}.get(module, f"{module.upper()}_PORT")
    process = services._start(module, port, {f"OBSERVA_{variable}": port})
    try:
        wait_until(lambda: "the start waits" in process.log.read_text(), "it waits")
        assert process.terminate() == 0  # a handler of its own: the first process of a container has no default
    finally:
        services.stop()
