"""Routes of the Open Inference Protocol, so that Triton's and KServe's HTTP clients work unchanged."""

import time
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway import documentation
from gateway.fleet import ModelView
from gateway.gateway import Gateway, gateway_of
from gateway.health import is_ready
from gateway.inference_protocol import PLATFORM, describe_config, describe_tensors, read_request, write_response
from gateway.intake import read_inflated, read_manner
from gateway.predicting import JSON, answer_of
from gateway.problems import Problem
from gateway.routing import DirectRoute
from gateway.serving import Question

OCTETS: Final = "application/octet-stream"
EXTENSIONS: Final = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]
JSON_LENGTH: Final = "Inference-Header-Content-Length"
# Triton's client names no media type, and a body with binary tensors is not JSON.
MEDIA_TYPES: Final = frozenset({"", JSON, OCTETS})

router = APIRouter(route_class=DirectRoute, prefix="/v2", tags=["Open Inference Protocol"])


@router.get("", summary="Server metadata", **documentation.told())
async def server(_request: Request) -> Response:
    """Name and extensions of this server. The protocol is offered over HTTP; gRPC is not."""
    return _json({"name": "observa", "version": documentation.VERSION, "extensions": EXTENSIONS})


@router.get("/health/live", summary="Alive", **documentation.told())
async def live(_request: Request) -> Response:
    """The process runs."""
    return _json({"live": True})


@router.get("/health/ready", summary="Ready", **documentation.alive("Not ready"))
async def ready(request: Request) -> Response:
    """The default model can answer; else 503."""
    answers = await is_ready(gateway_of(request))
    return _json({"ready": answers}, 200 if answers else 503)


@router.post("/repository/index", summary="Models and versions", **documentation.told())
async def index(request: Request) -> Response:
    """Every version that a live worker has loaded."""
    found = [
        {"name": view.name, "version": version}
        for view in gateway_of(request).fleet.models
        for version in view.versions
    ]
    return _json([one | {"state": "READY", "reason": ""} for one in found])


@router.get("/models/stats", summary="Statistics of all models", **documentation.told())
async def statistics(request: Request) -> Response:
    """What this gateway process answered over this protocol since it started, by model and version."""
    gateway = gateway_of(request)
    return _statistics(gateway, *gateway.fleet.models)


@router.get("/models/{model}/stats", summary="Statistics of a model", **documentation.found())
async def model_statistics(request: Request, model: str) -> Response:
    """As `/v2/models/stats`, of one model."""
    gateway = gateway_of(request)
    return _statistics(gateway, await _find(gateway, model, None))


@router.get("/models/{model}/versions/{version}/stats", summary="Statistics of a version", **documentation.found())
async def version_statistics(request: Request, model: str, version: str) -> Response:
    """As `/v2/models/stats`, of one version."""
    gateway = gateway_of(request)
    return _statistics(gateway, await _find(gateway, model, version), version=version)


@router.get("/models/{model}/config", summary="Model configuration", **documentation.found())
async def config(request: Request, model: str) -> Response:
    """Tensors and the largest batch, as Triton's clients ask for them."""
    view = await _find(gateway_of(request), model, None)
    return _json(describe_config(view.name, _label_count(view, view.live)))


@router.get("/models/{model}/versions/{version}/config", summary="Configuration of a version", **documentation.found())
async def version_config(request: Request, model: str, version: str) -> Response:
    """As `/v2/models/{model}/config`, of one version."""
    view = await _find(gateway_of(request), model, version)
    return _json(describe_config(view.name, _label_count(view, version)))


@router.get("/models/{model}", summary="Model metadata", **documentation.found())
async def model_metadata(request: Request, model: str) -> Response:
    """Versions, inputs and outputs."""
    return await _metadata(request, model)


@router.get("/models/{model}/versions/{version}", summary="Model version metadata", **documentation.found())
async def version_metadata(request: Request, model: str, version: str) -> Response:
    """Versions, inputs and outputs."""
    return await _metadata(request, model, version)


@router.get("/models/{model}/ready", summary="Model ready", **documentation.alive("No worker serves it"))
async def model_ready(request: Request, model: str) -> Response:
    """A live worker serves this model; else 503."""
    return await _ready(request, model)


@router.get(
    "/models/{model}/versions/{version}/ready",
    summary="Model version ready",
    **documentation.alive("No worker serves it"),
)
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
    tensors = describe_tensors(_label_count(view, version or view.live))
    return _json({"name": view.name, "versions": sorted(view.versions), "platform": PLATFORM, **tensors})


def _label_count(view: ModelView, version: str | None) -> int:
    """Return how many labels a version has; -1: unknown."""
    served = view.versions.get(version or "")
    return len(served.labels) if served else -1


def _statistics(gateway: Gateway, *views: ModelView, version: str | None = None) -> Response:
    found = [(view.name, one) for view in views for one in ([version] if version else sorted(view.versions))]
    return _json({"model_stats": [gateway.statistics.describe(*one) for one in found]})


async def _ready(request: Request, model: str, version: str | None = None) -> Response:
    gateway = gateway_of(request)
    view = await _find(gateway, model, version)
    answers = view.workers > 0 and gateway.fleet.serves(view)
    return _json({"name": view.name, "ready": answers}, 200 if answers else 503)


async def _infer(request: Request, model: str, version: str | None = None) -> Response:
    gateway = gateway_of(request)
    body = await read_inflated(request, gateway.settings, MEDIA_TYPES)
    asked = read_request(body, _json_length(request))
    manner = read_manner(request, gateway.settings)
    manner.one_version = True
    view = await _find(gateway, model, version)
    request.state.model = view.name
    question = Question(
        model=view.name,
        version=version,
        texts=asked.texts,
        several=True,
        true_labels=(None,) * len(asked.texts),
    )
    began = time.perf_counter()
    try:
        with gateway.callers.while_connected(request):
            accepted = await gateway.serving.serve(question, manner, view)
        request.state.ids = accepted.ids
        if not manner.waits:
            return _json({"ids": accepted.ids}, 202)
        pairs = zip(accepted.ids, accepted.answers, strict=True)
        predictions = [
            orjson.loads(answer_of(prediction_id, answer, gateway.serving)) for prediction_id, answer in pairs
        ]
        content, json_length = write_response(asked, view.name, predictions)
    except Problem:
        gateway.statistics.failed(view.name, version or view.live or "", time.perf_counter() - began)
        raise
    gateway.statistics.succeeded(view.name, predictions, time.perf_counter() - began)
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


def _json(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type=JSON)
