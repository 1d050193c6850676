"""Routes of the Open Inference Protocol, so that Triton's and KServe's HTTP clients work unchanged."""

from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway import documentation
from gateway.fleet import ModelView
from gateway.gateway import Gateway, gateway_of
from gateway.health import is_ready
from gateway.inference_protocol import describe_tensors, read_request, write_response
from gateway.intake import read, read_manner
from gateway.predicting import JSON, answer_of
from gateway.problems import Problem
from gateway.routing import DirectRoute
from gateway.schemas import PredictBody, read_body
from gateway.serving import Question

OCTETS: Final = "application/octet-stream"
JSON_LENGTH: Final = "Inference-Header-Content-Length"
# Triton's client names no media type, and a body with binary tensors is not JSON.
MEDIA_TYPES: Final = frozenset({"", JSON, OCTETS})

router = APIRouter(route_class=DirectRoute, prefix="/v2", tags=["Open Inference Protocol"])


@router.get("", summary="Server metadata")
async def server(_request: Request) -> Response:
    """Name and extensions of this server. The protocol is offered over HTTP; gRPC is not."""
    return _json({"name": "observa", "version": documentation.VERSION, "extensions": ["binary_tensor_data"]})


@router.get("/health/live", summary="Alive")
async def live(_request: Request) -> Response:
    """The process runs."""
    return _json({"live": True})


@router.get("/health/ready", summary="Ready")
async def ready(request: Request) -> Response:
    """The default model can answer; else 503."""
    answers = await is_ready(gateway_of(request))
    return _json({"ready": answers}, 200 if answers else 503)


@router.get("/models/{model}", summary="Model metadata", **documentation.found())
async def model_metadata(request: Request, model: str) -> Response:
    """Versions, inputs and outputs."""
    return await _metadata(request, model)


@router.get("/models/{model}/versions/{version}", summary="Model version metadata", **documentation.found())
async def version_metadata(request: Request, model: str, version: str) -> Response:
    """Versions, inputs and outputs."""
    return await _metadata(request, model, version)


@router.get("/models/{model}/ready", summary="Model ready", **documentation.found())
async def model_ready(request: Request, model: str) -> Response:
    """A live worker serves this model; else 503."""
    return await _ready(request, model)


@router.get("/models/{model}/versions/{version}/ready", summary="Model version ready", **documentation.found())
async def version_ready(request: Request, model: str, version: str) -> Response:
    """A live worker serves this version; else 404 or 503."""
    return await _ready(request, model, version)


@router.post("/models/{model}/infer", summary="Classify", **documentation.infer())
async def infer(request: Request, model: str) -> Response:
    """Classify the texts of one BYTES tensor named `text`. Tensors may be JSON or binary, in and out.

    Outputs are `label` (BYTES), `confidence` (FP32) and `probabilities` (FP32, a row per text). One text that
    fails fails the call.
    """
    return await _infer(request, model)


@router.post("/models/{model}/versions/{version}/infer", summary="Classify with one version", **documentation.infer())
async def infer_with_version(request: Request, model: str, version: str) -> Response:
    """As `/v2/models/{model}/infer`; no other version may answer."""
    return await _infer(request, model, version)


async def _metadata(request: Request, model: str, version: str | None = None) -> Response:
    view = await _find(gateway_of(request), model, version)
    served = view.versions.get(version or view.live or "")
    tensors = describe_tensors(len(served.labels) if served else -1)
    return _json({"name": view.name, "versions": sorted(view.versions), "platform": "observa", **tensors})


async def _ready(request: Request, model: str, version: str | None = None) -> Response:
    gateway = gateway_of(request)
    view = await _find(gateway, model, version)
    answers = view.workers > 0 and gateway.fleet.serves(view)
    return _json({"name": view.name, "ready": answers}, 200 if answers else 503)


async def _infer(request: Request, model: str, version: str | None = None) -> Response:
    gateway = gateway_of(request)
    asked = read_request(await read(request, gateway.settings, MEDIA_TYPES), _json_length(request))
    texts = read_body(PredictBody, {"texts": asked.texts}).all_texts
    manner = read_manner(request, gateway.settings)
    manner.one_version = True
    view = await _find(gateway, model, version)
    request.state.model = view.name
    question = Question(model=view.name, version=version, texts=texts, several=True, true_labels=(None,) * len(texts))
    with gateway.callers.while_connected(request):
        accepted = await gateway.serving.serve(question, manner, view)
    request.state.ids = accepted.ids
    if not manner.waits:
        return _json({"ids": accepted.ids}, 202)
    pairs = zip(accepted.ids, accepted.answers, strict=True)
    answers = [answer_of(prediction_id, answer, gateway.serving) for prediction_id, answer in pairs]
    content, json_length = write_response(asked, view.name, answers)
    if json_length is None:
        return Response(content, media_type=JSON)
    return Response(content, headers={JSON_LENGTH: str(json_length)}, media_type=OCTETS)


async def _find(gateway: Gateway, model: str, version: str | None) -> ModelView:
    view = await gateway.serving.model(model)
    if version is not None and version not in view.versions:
        raise Problem("version_not_loaded")
    return view


def _json_length(request: Request) -> int | None:
    length = request.headers.get(JSON_LENGTH)
    if length is None:
        return None
    if not (length.isascii() and length.isdigit()):
        raise Problem("invalid_tensor")
    return int(length[:12])


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type=JSON)
