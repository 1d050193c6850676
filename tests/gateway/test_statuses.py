"""The OpenAPI document names every status that a caller really gets, also while parts of the system are down."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broker.access import create_key
from broker.connection import connect
from tests.gateway.stack import RunningGateway, running_gateway, running_stack

NAMES = {"model": "sentiment", "version": "1", "stream": "requests", "dead_id": "1-1", "asset": "x"}
LATER = {"prediction_id": "sentiment.0.01890a5d-ac96-774b-bcce-b302099a8057"}


@asynccontextmanager
async def whole(settings: Callable[..., Any], _server: Any, **values: Any) -> AsyncIterator[RunningGateway]:
    async with running_stack(settings(**values)) as (gateway, _):
        yield gateway


@asynccontextmanager
async def without_worker(settings: Callable[..., Any], _server: Any) -> AsyncIterator[RunningGateway]:
    async with running_gateway(settings()) as gateway:
        yield gateway


@asynccontextmanager
async def without_redis(settings: Callable[..., Any], server: Any) -> AsyncIterator[RunningGateway]:
    async with running_stack(settings()) as (gateway, _):
        server.kill()
        try:
            yield gateway
        finally:
            server.start()


@asynccontextmanager
async def leaving(settings: Callable[..., Any], server: Any) -> AsyncIterator[RunningGateway]:
    async with whole(settings, server) as gateway:
        gateway.app.state.gateway.draining = True
        yield gateway


@asynccontextmanager
async def by_another_name(settings: Callable[..., Any], server: Any) -> AsyncIterator[RunningGateway]:
    async with whole(settings, server) as gateway:
        gateway.client.headers["Host"] = "evil.example"
        yield gateway


@asynccontextmanager
async def with_an_internal_port(settings: Callable[..., Any], server: Any) -> AsyncIterator[RunningGateway]:
    async with whole(settings, server, gateway_internal_port=server.port + 1) as gateway:
        yield gateway


@asynccontextmanager
async def with_keys(settings: Callable[..., Any], server: Any) -> AsyncIterator[RunningGateway]:
    async with connect(settings(), "test") as redis:
        await create_key(redis, "anna", ("predict",), None)
    async with whole(settings, server, gateway_auth="keys") as gateway:
        yield gateway


SITUATIONS: dict[str, Any] = {
    made.__name__: made
    for made in (whole, without_worker, without_redis, leaving, by_another_name, with_an_internal_port, with_keys)
}


def told(document: dict[str, Any], status: int, media_type: str) -> bool:
    """Tell whether *document*, of one operation, names this answer."""
    response = document["responses"].get(str(status))
    return response is not None and (status < 300 or "content" not in response or media_type in response["content"])


@pytest.mark.parametrize("name", SITUATIONS)
async def test_no_operation_answers_with_a_status_that_the_document_does_not_name(gateway_settings, own_server, name):
    def settings(**values: Any) -> Any:
        return gateway_settings(**values).model_copy(update={"redis_url": own_server.url})

    seen = set()
    async with SITUATIONS[name](settings, own_server) as gateway:
        document = gateway.app.openapi()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                place = path.format_map({**NAMES, **LATER, "explanation_id": LATER["prediction_id"]})
                answer = await gateway.client.request(method, place, json={} if method == "post" else None)
                media_type = answer.headers["content-type"].partition(";")[0]
                if path.startswith("/v2/"):
                    assert media_type == "application/json"
                    media_type = "application/problem+json" if "code" in answer.json() else media_type
                assert told(operation, answer.status_code, media_type), (method, path, answer.status_code)
                seen.add(answer.status_code)
    wanted = {"whole": 200, "without_worker": 503, "without_redis": 503, "leaving": 503, "by_another_name": 421}
    assert {**wanted, "with_an_internal_port": 404, "with_keys": 401}[name] in seen


async def test_what_is_answered_to_a_caller_that_does_not_wait_is_in_the_document(gateway_settings, own_server):
    async with running_stack(gateway_settings().model_copy(update={"redis_url": own_server.url})) as (gateway, _):
        for path, operations in gateway.app.openapi()["paths"].items():
            if not path.endswith(("/predict", "/infer")):
                continue
            operation = operations["post"]
            body = operation["requestBody"]["content"]["application/json"]["examples"]["one"]["value"]
            answer = await gateway.client.post(path.format_map(NAMES), json=body, headers={"Prefer": "respond-async"})
            assert answer.status_code == 202
            assert told(operation, 202, "application/json"), path
