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
