"""Routes that explain a prediction: the work is an explainer's, on streams of its own, so no answer waits for it."""

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from broker.answers import PENDING
from broker.events import ExplainRequest
from broker.explanations import find_request
from broker.redaction import redacted
from broker.streams import PredictionId, Tag
from gateway import documentation, strict_json
from gateway.access import is_within, key_of
from gateway.gateway import Gateway, gateway_of
from gateway.intake import read
from gateway.path_prefix import as_seen
from gateway.predicting import JSON, answer_of
from gateway.problems import CODES, Problem
from gateway.routing import DirectRoute
from gateway.schemas import ExplainBody, read_body

router = APIRouter(route_class=DirectRoute, tags=["explanations"])


@router.post("/v1/explanations", summary="Explain a prediction", **documentation.explain())
async def explain(request: Request) -> Response:
    """Ask which words made the answer, of a prediction by its id or of a text. The same id is explained once."""
    gateway = gateway_of(request)
    body = read_body(ExplainBody, strict_json.parse(await read(request, gateway.settings)))
    reach = gateway.access.reach(request.scope)
    if body.id is not None:
        wanted = _parse(body.id)
        known = await _find(gateway, wanted, reach)
        if known and known["status"] != "failed":
            return _shown(wanted, known)
        asked, key = await _of_prediction(gateway, wanted, reach)
    else:
        asked, key = await _of_text(gateway, body), key_of(request.scope)
    identity = PredictionId.parse(asked.id)
    outcome = await gateway.explanations.ask(identity.tag, asked, key)
    if outcome == "absent":
        raise Problem("explainer_unavailable")
    if outcome == "full":
        raise Problem("overloaded")
    return _shown(identity, {"status": "pending", "progress": 0.0})


@router.get("/v1/explanations/{explanation_id}", summary="An explanation", **documentation.explanation())
async def explanation(request: Request, explanation_id: str) -> Response:
    """Return the explanation, or 202 with its progress while it is being made."""
    gateway = gateway_of(request)
    wanted = _parse(explanation_id)
    found = await _find(gateway, wanted, gateway.access.reach(request.scope))
    if found is None:
        old = gateway.clock.now_ms() - wanted.time_ms > gateway.settings.answer_retention_s * 1000
        raise Problem("expired" if old else "not_found", id=str(wanted))
    if found["status"] == "failed":
        raise Problem(found["code"] if found["code"] in CODES else "explanation_failed", id=str(wanted))
    return _shown(wanted, found)


async def _find(gateway: Gateway, wanted: PredictionId, reach: frozenset[str] | None) -> dict[str, Any] | None:
    """Return an explanation that a caller of that *reach* may know of."""
    found = await gateway.explanations.find(wanted)
    return found[0] if found and is_within(reach, found[1]) else None


async def _of_prediction(
    gateway: Gateway, wanted: PredictionId, reach: frozenset[str] | None
) -> tuple[ExplainRequest, str | None]:
    """Return what is to be explained of a prediction, and whose it is.

    That is its text as the log has it, by the version that answered.
    """
    found = await find_request(gateway.redis, wanted)
    if found is None or not is_within(reach, found.key):
        raise Problem("text_not_kept", id=str(wanted))
    answer = (await gateway.log.answers([wanted]))[0]
    if answer == PENDING:
        raise Problem("not_found", id=str(wanted))
    answered: str | None = orjson.loads(answer_of(str(wanted), answer, gateway.serving))["version"] if answer else None
    version = answered or found.version
    if version is None:
        raise Problem("version_unavailable", id=str(wanted))
    return ExplainRequest(id=str(wanted), text=found.text, version=version), found.key


async def _of_text(gateway: Gateway, body: ExplainBody) -> ExplainRequest:
    view = await gateway.serving.model(body.model or gateway.settings.model)
    version = body.version or view.live
    if version is None:
        raise Problem("model_unavailable")
    if version not in view.versions:
        raise Problem("version_not_loaded")
    text = redacted(body.text or "", gateway.settings.redact)
    return ExplainRequest(id=str(PredictionId.new(Tag(view.name))), text=text, version=version)


def _shown(identity: PredictionId, found: dict[str, Any]) -> Response:
    where = as_seen(f"/v1/explanations/{identity}")
    document = {"id": str(identity), **found}
    if found["status"] == "pending":
        headers = {"Location": where, "Retry-After": "1"}
        return Response(orjson.dumps({**document, "result_url": where}), 202, headers, JSON)
    return Response(orjson.dumps(document), media_type=JSON)


def _parse(text: str) -> PredictionId:
    try:
        return PredictionId.parse(text)
    except ValueError:
        raise Problem("not_found") from None
