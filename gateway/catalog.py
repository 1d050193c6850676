"""Routes that show the state of the system: models, streams, alarms."""

from dataclasses import asdict
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from broker.inspection import group_states, read_alerts
from broker.streams import Tag
from gateway import documentation
from gateway.fleet import Fleet, ModelView
from gateway.gateway import Gateway, gateway_of
from gateway.predicting import JSON
from gateway.routing import DirectRoute

router = APIRouter(route_class=DirectRoute, tags=["state"])


@router.get("/v1/models", summary="All models", **documentation.state())
async def all_models(request: Request) -> Response:
    """Every known model with its loaded versions, their labels and test metrics."""
    fleet = gateway_of(request).fleet
    return _json({"models": [_describe(view, fleet) for view in fleet.models]})


@router.get("/v1/models/{model}", summary="One model", **documentation.found())
async def one_model(request: Request, model: str) -> Response:
    """One model with its loaded versions, their labels and test metrics."""
    gateway = gateway_of(request)
    return _json(_describe(await gateway.serving.model(model), gateway.fleet))


@router.get("/v1/streams", summary="How far each reader has come", **documentation.state())
async def streams(request: Request) -> Response:
    """Lag, pending entries and the age of the oldest, per stream and group; null where Redis cannot know it."""
    gateway = gateway_of(request)
    return _json(
        {
            "streams": [
                {"model": tag.model, "shard": tag.shard, **asdict(state)}
                for tag in _tags(gateway)
                for state in await group_states(gateway.redis, tag)
            ]
        }
    )


@router.get("/v1/alerts", summary="Alarms", **documentation.state())
async def alerts(request: Request) -> Response:
    """The latest alarms of every model, newest first, with their evidence."""
    gateway = gateway_of(request)
    found = [
        {"model": tag.model, "shard": tag.shard, **alert.model_dump()}
        for tag in _tags(gateway)
        for alert in await read_alerts(gateway.redis, tag)
    ]
    return _json({"alerts": sorted(found, key=lambda alert: -alert["at_ms"])})


def _describe(view: ModelView, fleet: Fleet) -> dict[str, Any]:
    return {
        "name": view.name,
        "available": fleet.serves(view),
        "live": view.live,
        "canary": view.wanted and view.wanted.canary and view.wanted.canary.model_dump(),
        "shadows": view.wanted.shadows if view.wanted else {},
        "wanted": view.wanted and view.wanted.version,
        "previous": view.wanted and view.wanted.previous,
        "generation": view.wanted and view.wanted.generation,
        "refused": sorted(view.refused),
        "workers": view.workers,
        "texts_per_second": view.texts_per_second,
        "versions": [{"version": version, **served.model_dump()} for version, served in sorted(view.versions.items())],
    }


def _tags(gateway: Gateway) -> list[Tag]:
    return [Tag(view.name, shard) for view in gateway.fleet.models for shard in range(gateway.settings.shards)]


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type=JSON)
