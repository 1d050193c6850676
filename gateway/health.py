"""Routes for those who look after the process: alive, ready, metrics."""

import asyncio
from typing import Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway import documentation
from gateway.gateway import Gateway, gateway_of
from gateway.predicting import JSON
from gateway.routing import DirectRoute

PING_S: Final = 1.0

router = APIRouter(route_class=DirectRoute, tags=["health"])


@router.get("/healthz", summary="Alive", **documentation.alive("Something in the background hangs"))
async def healthz(request: Request) -> Response:
    """The process works, also while Redis is away; 503: what it does in the background hangs, so start it anew."""
    if gateway_of(request).duties.stuck():
        return Response(b'{"status":"stuck"}', 503, media_type=JSON)
    return Response(b'{"status":"alive"}', media_type=JSON)


@router.get("/readyz", summary="Ready", **documentation.alive("Not ready"))
async def readyz(request: Request) -> Response:
    """Redis can be reached and a live worker serves the default model; else 503."""
    if await is_ready(gateway_of(request)):
        return Response(b'{"status":"ready"}', media_type=JSON)
    return Response(b'{"status":"not ready"}', 503, media_type=JSON)


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse, **documentation.told())
async def metrics(request: Request) -> Response:
    """What this process counted."""
    return Response(generate_latest(gateway_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def is_ready(gateway: Gateway) -> bool:
    """Tell whether a caller who comes now can expect an answer."""
    view = await gateway.fleet.find(gateway.settings.model)
    if gateway.draining or view is None or view.workers == 0 or not gateway.fleet.settled:
        return False
    if not gateway.fleet.reachable:
        return False
    try:
        async with asyncio.timeout(PING_S):
            await gateway.redis.ping()
    except (RedisError, OSError):
        return False
    return True
