"""Routes about a prediction made before: what came of it, and what would have been right."""

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from broker.answers import PENDING
from broker.streams import PredictionId
from gateway import documentation, strict_json
from gateway.access import is_within
from gateway.gateway import Gateway, gateway_of
from gateway.intake import read
from gateway.metrics import OTHER
from gateway.predicting import JSON, answer_of
from gateway.problems import Problem
from gateway.routing import DirectRoute
from gateway.schemas import FeedbackBody, read_body

router = APIRouter(route_class=DirectRoute, tags=["predictions"])


@router.get("/v1/predictions/{prediction_id}", summary="What came of a prediction", **documentation.prediction())
async def prediction(request: Request, prediction_id: str) -> Response:
    """Return the prediction, or 202 while it is pending, or the problem its caller would have got."""
    gateway = gateway_of(request)
    wanted = _parse(prediction_id)
    answer, key = (await gateway.log.records([wanted]))[0]
    if answer is None or not is_within(gateway.access.reach(request.scope), key):
        raise _missing(gateway, wanted, gateway.settings.answer_retention_s)
    if answer == PENDING:
        return Response(orjson.dumps({"id": str(wanted), "status": "pending"}), 202, {"Retry-After": "1"}, JSON)
    return Response(answer_of(str(wanted), answer, gateway.serving), media_type=JSON)


@router.post("/feedback", summary="Say what would have been right", **documentation.feedback())
async def feedback(request: Request) -> Response:
    """Record the true label of a prediction. Again the same: 200. Another label replaces the first: 202."""
    gateway = gateway_of(request)
    body = read_body(FeedbackBody, strict_json.parse(await read(request, gateway.settings)))
    wanted = _parse(body.id)
    view = await gateway.fleet.find(wanted.tag.model)
    if view and view.labels and body.label not in view.labels:
        raise Problem.of_field("/label", "bad_label")
    outcome = await gateway.log.feedback(wanted, body.label, gateway.access.reach(request.scope))
    gateway.metrics.feedback.labels(wanted.tag.model if view else OTHER, outcome).inc()
    if outcome == "unknown":
        raise _missing(gateway, wanted, gateway.settings.join_retention_h * 3600)
    status = 200 if outcome == "same" else 202
    return Response(orjson.dumps({"id": str(wanted), "status": outcome}), status, media_type=JSON)


def _parse(text: str) -> PredictionId:
    try:
        return PredictionId.parse(text)
    except ValueError:
        raise Problem("not_found") from None


def _missing(gateway: Gateway, wanted: PredictionId, kept_s: float) -> Problem:
    old = gateway.clock.now_ms() - wanted.time_ms > kept_s * 1000
    return Problem("expired" if old else "not_found", id=str(wanted))
