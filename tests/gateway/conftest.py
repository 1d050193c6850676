"""A gateway and a worker per test, or per module."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from redis import Redis as SyncRedis

from gateway.settings import GatewaySettings
from tests.gateway.stack import EchoWorker, RunningGateway, running_stack
from tests.servers import RedisServer
from tests.takeover import pair, servers  # noqa: F401 fixtures


@pytest.fixture
def gateway_settings(server: RedisServer) -> Callable[..., GatewaySettings]:
    def make(**values: Any) -> GatewaySettings:
        return GatewaySettings(redis_url=server.url, redis_password_file=None, gateway_drain_s=0, **values)

    return make


@pytest.fixture
async def stack(
    gateway_settings: Callable[..., GatewaySettings],
) -> AsyncIterator[tuple[RunningGateway, EchoWorker]]:
    async with running_stack(gateway_settings()) as both:
        yield both


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting_gateway(running_server: RedisServer) -> AsyncIterator[RunningGateway]:
    """One gateway for a whole module of requests that must not change anything."""
    with SyncRedis(port=running_server.port) as redis:
        redis.flushall()
    settings = GatewaySettings(redis_url=running_server.url, redis_password_file=None, gateway_drain_s=0)
    async with running_stack(settings) as (gateway, _):
        yield gateway


@pytest.fixture
def gateway(stack: tuple[RunningGateway, EchoWorker]) -> RunningGateway:
    return stack[0]


@pytest.fixture
def worker(stack: tuple[RunningGateway, EchoWorker]) -> EchoWorker:
    return stack[1]


@pytest.fixture
def client(gateway: RunningGateway) -> httpx.AsyncClient:
    return gateway.client
