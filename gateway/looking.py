"""The route that shows one stream: its readers, and its latest entries without their texts."""

from dataclasses import asdict
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from broker.inspection import Entry, consumers, group_states, latest_entries
from broker.streams import Tag
from gateway import documentation
from gateway.gateway import gateway_of
from gateway.predicting import JSON
from gateway.problems import Problem
from gateway.routing import DirectRoute

STREAMS: Final = frozenset({"requests", "results", "feedback", "dead", "alerts", "explanations"})
TEXTS: Final = {"text": "text_bytes", "entry": "entry_bytes"}  # fields that hold a text, and what is told of them
USUAL, MOST = 20, 200
LONGEST_VALUE: Final = 400  # characters; evidence of an alarm may be long

router = APIRouter(route_class=DirectRoute, tags=["state"])


@router.get("/v1/streams/{model}/{stream}", summary="One stream", **documentation.stream())
async def one_stream(request: Request, model: str, stream: str) -> Response:
    """Readers with their consumers, and the latest entries, newest first.

    *model* is `MODEL.SHARD`, or `MODEL` for all its shards together; then `shard` is null where there are several.
    """
    gateway = gateway_of(request)
    tags = await _tags(request, model)
    if stream not in STREAMS:
        raise Problem("not_found")
    count = _count(request.query_params.get("count", str(USUAL)))
    groups, entries, total = [], [], 0
    for tag in tags:
        for state in await group_states(gateway.redis, tag):
            if state.stream == stream:
                who = await consumers(gateway.redis, tag.key(stream), state.group)
                groups.append({"shard": tag.shard, **asdict(state), "consumers": who})
        length, latest = await latest_entries(gateway.redis, tag.key(stream), count)
        total += length
        entries += [_shown(tag, entry) for entry in latest]
    document = {
        "model": tags[0].model,
        "shard": tags[0].shard if len(tags) == 1 else None,
        "stream": stream,
        "length": total,
        "groups": groups,
        "entries": sorted(entries, key=lambda entry: -entry["at_ms"])[:count],
    }
    return Response(orjson.dumps(document), media_type=JSON)


def _shown(tag: Tag, entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in entry.fields.items():
        if name in TEXTS:
            fields[TEXTS[name]] = len(value)
        else:
            fields[name] = value.decode(errors="backslashreplace")[:LONGEST_VALUE]
    named = f"{tag.model}.{tag.shard}.{entry.id}"
    return {"entry": entry.id, "name": named, "at_ms": entry.at_ms, "fields": fields}


async def _tags(request: Request, named: str) -> list[Tag]:
    gateway = gateway_of(request)
    model, _, shard = named.rpartition(".")
    if model and shard.isascii() and shard.isdigit() and int(shard[:6]) < gateway.settings.shards:
        view = await gateway.serving.model(model)
        return [Tag(view.name, int(shard))]
    view = await gateway.serving.model(named)
    return [Tag(view.name, shard) for shard in range(gateway.settings.shards)]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= MOST):
        raise Problem.of_field("/count", "out_of_range", min=0, max=MOST)
    return int(text)
