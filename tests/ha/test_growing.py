"""The number of shards grows while callers send: nothing is lost, and what was accepted before is known afterwards."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from redis import Redis

from broker.streams import PredictionId, Tag
from tests.ha.conftest import MODEL, counted
from tests.live.ledger import Ledger
from tests.live.services import Process, Services, make_model
from tests.servers import RedisServer, eventually

SHARDS = 4


@pytest.fixture
def services(own_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    services = Services(own_server, tmp_path_factory.mktemp("services"), claim_ms=1000, model=MODEL)
    make_model(services.models, MODEL)
    yield services
    services.stop()


async def restart(process: Process, path: str) -> None:
    """Restart a service with more shards than it had."""
    await asyncio.to_thread(process.terminate)
    process.start(OBSERVA_SHARDS=SHARDS)
    await asyncio.to_thread(process.wait, path)


async def test_shards_are_added_service_by_service_under_load_and_in_any_order(services, own_server):
    worker, monitor, gateways = services.worker(), services.monitor(), [services.gateway() for _ in range(2)]
    first, second = gateways
    enough = asyncio.Event()
    async with (
        Ledger([gateway.url for gateway in gateways], MODEL, shards=SHARDS) as ledger,
        httpx.AsyncClient(timeout=35) as client,
    ):
        await ledger.load(40, 100)
        before = list(ledger.sent)
        load = asyncio.create_task(ledger.load_until(enough, 40))
        await restart(first, "/readyz")  # it knows shards that nobody reads, and uses none of them
        early = [await _send(first, client) for _ in range(20)]
        ledger.others |= set(map(str, early))
        assert {prediction.tag.shard for prediction in early} == {0}
        await restart(worker, "/healthz")
        await restart(monitor, "/healthz")
        await eventually(lambda: used(own_server, 1), "the first gateway uses the new shards")
        while (prediction := await _send(first, client)).tag.shard != SHARDS - 1:
            ledger.others.add(str(prediction))
        ledger.others.add(str(prediction))
        found = await client.get(f"{second.url}/v1/predictions/{prediction}")  # of a shard that it does not know
        assert found.status_code in {200, 202}
        await restart(second, "/readyz")
        await eventually(lambda: used(own_server, SHARDS - 1), "every shard is used")
        enough.set()
        await load
        for key in before:
            await ledger.insist(key)  # fails unless the answer is the one of before
        with Redis(port=own_server.port, protocol=2) as look:
            ledger.check(look)
            total = sum(look.xlen(Tag(MODEL, shard).results) for shard in range(SHARDS))
    assert len(ledger.sent) > 200

    async def all_are_counted() -> bool:
        return await counted(monitor) == total

    await eventually(all_are_counted, "the monitor has counted every result of every shard")


async def used(server: RedisServer, at_least: int) -> bool:
    """Tell whether so many of the new shards hold requests."""
    with Redis(port=server.port) as look:
        return sum(look.xlen(Tag(MODEL, shard).requests) > 0 for shard in range(1, SHARDS)) >= at_least


async def _send(gateway: Process, client: httpx.AsyncClient) -> PredictionId:
    url = f"{gateway.url}/v1/models/{MODEL}/predict"
    sent = await client.post(url, json={"text": "good"}, headers={"Prefer": "respond-async"})
    return PredictionId.parse(sent.json()["id"])
