"""The route that gives a dead letter another life."""

import re
from typing import Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from broker.manifest import NAME_PATTERN
from broker.streams import Tag
from gateway import documentation
from gateway.gateway import gateway_of
from gateway.intake import read
from gateway.predicting import JSON
from gateway.problems import Problem
from gateway.routing import DirectRoute

_DEAD: Final = re.compile(
    rf"(?:(?P<model>{NAME_PATTERN})\.(?P<shard>0|[1-9][0-9]{{0,3}})\.)?(?P<entry>\d{{1,15}}-\d{{1,19}})"
)

router = APIRouter(route_class=DirectRoute, tags=["state"])


@router.post("/v1/dead/{dead_id}/redrive", summary="Send a dead letter again", **documentation.redrive())
async def redrive(request: Request, dead_id: str) -> Response:
    """Put the request back on the log with a new deadline. *dead_id* is `MODEL.SHARD.ENTRY`, or `ENTRY` alone."""
    gateway = gateway_of(request)
    await read(request, gateway.settings)  # nothing is in it; but a browser may not send JSON for another site
    match = _DEAD.fullmatch(dead_id)
    if match is None:
        raise Problem("not_found")
    tag = Tag(match["model"] or gateway.settings.model, int(match["shard"] or 0))
    added = await gateway.log.redrive(tag, match["entry"])
    if added is None:
        raise Problem("not_found")
    return Response(orjson.dumps({"entry": added, "status": "redriven"}), 202, media_type=JSON)
