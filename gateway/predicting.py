"""Routes that classify: one text or several, the default model, a named one, or one version of it."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from broker.answers import encode_error
from gateway import documentation, strict_json
from gateway.fleet import ModelView
from gateway.gateway import gateway_of
from gateway.intake import read, read_manner
from gateway.problems import CODES, Problem, result_url, retry_after
from gateway.replies import LOST
from gateway.routing import DirectRoute
from gateway.schemas import PredictBody, label_field, read_items
from gateway.serving import Accepted, Question, Serving

JSON: Final = "application/json"
ERROR_MARK: Final = b'"error":{'  # inside a string the quotes would be escaped


class Answer(Response):
    """JSON that is ready to be sent; without the detours by which a response of any kind gets its headers."""

    def __init__(self, body: bytes) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]


router = APIRouter(route_class=DirectRoute, tags=["predictions"])


@router.post("/predict", summary="Classify", **documentation.predict())
async def predict(request: Request) -> Response:
    """Classify one text, or up to 64, and wait for the answer.

    `Prefer: respond-async` answers 202 at once; `Idempotency-Key` gives the first answer again;
    `X-Deadline-Ms` says how long to wait.
    """
    return await _predict(request)


@router.post("/v1/models/{model}/predict", summary="Classify with a model", **documentation.predict())
async def predict_with_model(request: Request, model: str) -> Response:
    """As `/predict`, with the model named in the path."""
    return await _predict(request, model)


@router.post(
    "/v1/models/{model}/versions/{version}/predict",
    summary="Classify with one version of a model",
    **documentation.predict(),
)
async def predict_with_version(request: Request, model: str, version: str) -> Response:
    """As `/predict`; no other version may answer."""
    return await _predict(request, model, version)


async def _predict(request: Request, model: str | None = None, version: str | None = None) -> Response:
    gateway = gateway_of(request)
    value = strict_json.parse(await read(request, gateway.settings))
    body, faults = read_items(value)
    if model is not None and body.model not in {None, model}:
        raise Problem.of_field("/model", "invalid_value")
    manner = read_manner(request, gateway.settings)
    if body.partial and not manner.waits:
        raise Problem.of_field("/partial", "invalid_value")  # whose 202 has no place for what is wrong
    view = await gateway.serving.model(model or body.model or gateway.settings.model)
    request.state.model = view.name
    texts, labels = _known_labels(body, faults, view, label_field(value))
    question = Question(
        model=view.name,
        version=version,
        texts=texts,
        several=body.texts is not None,
        true_labels=labels,
        threshold=body.threshold,
        tags=body.tags,
        subject=body.subject,
        truncate=body.truncate,
    )
    with gateway.callers.while_connected(request):
        accepted = await gateway.serving.serve(question, manner, view)
    request.state.ids = accepted.ids
    if not manner.waits:
        return _pending(accepted, several=question.several)
    if question.several:
        return _several(accepted, gateway.serving, faults)
    return Answer(answer_of(accepted.ids[0], accepted.answers[0], gateway.serving))


def _known_labels(
    body: PredictBody, faults: dict[int, dict[str, Any]], view: ModelView, field: str
) -> tuple[tuple[str, ...], tuple[str | None, ...]]:
    """Return texts and labels; those whose label the model does not have join the *faults* where that is wanted.

    Raises:
        Problem: one has such a label, and `partial` was not asked for, or no text is left.

    """
    texts, labels = body.all_texts, body.all_labels
    if body.true_label is None or not view.labels:
        return texts, labels
    places = [place for place in range(len(texts) + len(faults)) if place not in faults]
    bad = {
        place: {"pointer": f"/{field}" if body.texts is None else f"/{field}/{place}", "code": "bad_label"}
        for place, label in zip(places, labels, strict=True)
        if label is not None and label not in view.labels
    }
    if bad and (not body.partial or len(bad) == len(texts)):
        raise Problem.invalid(list(bad.values()))
    faults |= bad
    left = [at for at, place in enumerate(places) if place not in bad]
    return tuple(texts[at] for at in left), tuple(labels[at] for at in left)


def _pending(accepted: Accepted, *, several: bool) -> Response:
    if several:
        return Response(orjson.dumps({"ids": accepted.ids}), 202, media_type=JSON)
    where = result_url(accepted.ids[0])
    document = {"id": accepted.ids[0], "status": "pending", "result_url": where}
    return Response(orjson.dumps(document), 202, {"Location": where}, JSON)


def answer_of(prediction_id: str, answer: bytes | None, serving: Serving) -> bytes:
    """Return the stored prediction as it is.

    Raises:
        Problem: it failed, is late, or is lost.

    """
    if answer is None:
        raise Problem.of_prediction(prediction_id, "deadline_exceeded")
    if answer == LOST:
        raise serving.missing(prediction_id)
    if ERROR_MARK in answer:
        code = orjson.loads(answer)["error"]["code"]
        raise Problem.of_prediction(prediction_id, code if code in CODES else "inference_failed")
    return answer


def _several(accepted: Accepted, serving: Serving, faults: Mapping[int, dict[str, Any]]) -> Response:
    """Return the answers in order, *faults* in their places; 207 where there are some, or some answers are lost.

    Raises:
        Problem: all are lost.

    """
    lost = accepted.answers.count(LOST)
    if lost == len(accepted.ids):
        raise Problem(serving.missing(accepted.ids[0]).code, ids=accepted.ids)
    items = _items(accepted, serving)
    for place in sorted(faults):
        items.insert(place, orjson.dumps({"id": None, "error": _error(faults[place])}))
    content = b'{"predictions":[' + b",".join(items) + b"]}"
    if not lost and not faults:
        return Answer(content)
    return Response(content, 207, {"Retry-After": retry_after("broker_unavailable")} if lost else None, JSON)


def _error(fault: dict[str, Any]) -> dict[str, Any]:
    return fault | {"status": CODES[fault["code"]][0]}


def _items(accepted: Accepted, serving: Serving) -> list[bytes]:
    items = []
    for prediction_id, answer in zip(accepted.ids, accepted.answers, strict=True):
        if answer is None:
            items.append(encode_error(prediction_id, "deadline_exceeded"))
        elif answer == LOST:
            problem = serving.missing(prediction_id)
            error = {"code": problem.code, "status": problem.status}
            items.append(orjson.dumps({"id": prediction_id, "error": error}))
        else:
            items.append(answer)
    return items
