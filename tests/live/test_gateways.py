"""Several gateway processes share one port: each gets a share of the connections, and shows its own metrics."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from tests.live.services import Services, body, make_model
from tests.servers import free_port, wait_until

CALLS = 64


@pytest.fixture
def gateways(server, tmp_path):
    services = Services(server, tmp_path, model="strange", worker_models="strange", gateways=2)
    make_model(services.models, "strange")
    port, internal, _ = free_port(), free_port(), free_port()  # the second's internal port follows the first's
    try:
        services.worker()
        yield (
            [
                services.gateway(port=port, OBSERVA_GATEWAY_INTERNAL_PORT=internal, OBSERVA_GATEWAY_SLOT=slot)
                for slot in range(2)
            ],
            internal,
        )
    finally:
        services.stop()


def listens(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    return False


def answered(url: str) -> float:
    return sum(
        map(float, re.findall(r'observa_requests_total{model="strange",status="200"} (\S+)', httpx.get(url).text))
    )


def test_calls_are_dealt_out_and_counted_where_they_were_answered(gateways):
    (first, _), internal = gateways
    wait_until(lambda: listens(internal + 1), "the second listens: the shared port says nothing of it")

    def call(_: int) -> int:
        return httpx.post(
            f"{first.url}/predict", content=body("fine"), headers={"content-type": "application/json"}
        ).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(call, range(CALLS))) == {200}

    counted = [answered(f"http://127.0.0.1:{internal + slot}/metrics") for slot in range(2)]
    assert sum(counted) == CALLS
    assert min(counted) > 0
    assert httpx.get(f"{first.url}/metrics").status_code == 404

    first.terminate()
    wait_until(lambda: not first.alive, "the first has ended")
    assert [call(i) for i in range(8)] == [200] * 8
