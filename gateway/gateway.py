"""The parts of one gateway process, and how they start and stop together."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import Request

from broker.connection import Clock, connect
from broker.duties import Duties
from broker.explanations import Explanations
from broker.log import Log
from gateway.access import Access
from gateway.callers import Callers
from gateway.door import Door
from gateway.fleet import Fleet
from gateway.inference_statistics import Statistics
from gateway.metrics import Metrics
from gateway.replies import Replies
from gateway.serving import Serving
from gateway.settings import GatewaySettings
from gateway.tracing import accepting_with

if TYPE_CHECKING:
    from broker.spans import Spans


@dataclass(slots=True)
class Gateway:
    """What a route may use."""

    settings: GatewaySettings
    access: Access
    duties: Duties
    redis: Redis
    clock: Clock
    log: Log
    explanations: Explanations
    fleet: Fleet
    serving: Serving
    callers: Callers
    door: Door
    metrics: Metrics
    statistics: Statistics = field(default_factory=Statistics)
    draining: bool = False  # asked to stop: not ready, but still answering


def gateway_of(request: Request) -> Gateway:
    """Return the parts that serve *request*."""
    gateway: Gateway = request.app.state.gateway
    return gateway


@asynccontextmanager
async def run_gateway(
    settings: GatewaySettings, metrics: Metrics, access: Access, spans: "Spans | None" = None
) -> AsyncIterator[Gateway]:
    """Connect, read and refresh in the background; stop all that at the end."""
    gateway_id = secrets.token_hex(6)
    redis = connect(settings, f"gateway-{gateway_id}")
    clock, log, duties = Clock(), Log(redis, settings), Duties()
    fleet = Fleet(redis, clock, metrics, settings)
    replies = Replies(redis, log, metrics, gateway_id, duties)
    accepting = accepting_with(spans)(redis, log, metrics, duties, timeout_s=settings.gateway_accept_timeout_s)
    serving = Serving(settings, fleet, accepting, replies, clock, metrics, gateway_id)
    with suppress(RedisError, OSError):  # not ready yet; the refresher goes on trying
        await fleet.refresh()
        if access.required:
            await access.refresh(redis)
    callers = Callers()
    duties.begin(fleet.refresh_forever(), fleet.pulse)
    duties.begin(replies.look_up_forever(), replies.pulse)
    duties.begin(callers.look_forever())
    if access.required:
        duties.begin(access.refresh_forever(redis, clock), access.pulse)
    try:
        explanations, door = Explanations(redis, settings), Door(fleet, serving, metrics)
        yield Gateway(settings, access, duties, redis, clock, log, explanations, fleet, serving, callers, door, metrics)
    finally:
        await duties.stop()
        await redis.aclose()
