"""What OpenAPI says of bodies, headers and answers; every example of a body is run by a test.

Each function returns arguments for a route's decorator.
"""

from itertools import chain
from typing import Any, Final

from pydantic import BaseModel

from gateway.inference_protocol import InferBody
from gateway.problems import CODES, FOREIGN, MEDIA_TYPE
from gateway.schemas import ExplainBody, FeedbackBody, PredictBody

VERSION: Final = "0.1.0"
DESCRIPTION: Final = """\
Text classification over a durable log. Every accepted text is an entry in a Redis stream; workers answer it, a monitor
watches the answers, and feedback says how right they were.

Errors are `application/problem+json` with a stable `code`. The Open Inference Protocol is offered over HTTP under `/v2`
(JSON and Triton's binary tensors); gRPC is not offered.

Where the gateway asks for API keys, a call carries `Authorization: Bearer KEY`; `just keys create NAME` makes one.
"""
_ID: Final = "sentiment.0.01890a5d-ac96-774b-bcce-b302099a8057"
_PREDICTION: Final = {
    "id": _ID,
    "model": "sentiment",
    "version": "1",
    "label": "positive",
    "label_id": 1,
    "confidence": 0.98,
    "probabilities": {"negative": 0.02, "positive": 0.98},
    "abstained": False,
    "truncated": False,
    "timing_ms": {"queue": 1.2, "inference": 6.4, "total": 7.9},
}
_EXPLANATION: Final = {
    "id": _ID,
    "status": "done",
    "model": "sentiment",
    "version": "1",
    "label": "positive",
    "method": "partition",
    "scale": "log_odds",
    "baseline": -1.75,
    "score": 3.24,
    "words": [{"text": "The ", "weight": 0.09}, {"text": "movie ", "weight": 0.4}, {"text": "amazing!", "weight": 4.5}],
    "truncated": False,
    "evaluations": 12,
    "elapsed_ms": 84.0,
}
_HEADERS: Final = [
    ("Prefer", {}, "`respond-async`: 202 at once, the answer at `/v1/predictions/{id}`"),
    (
        "Idempotency-Key",
        {"pattern": "^[ -~]{1,255}$"},
        "1 to 255 characters: the first answer again for 24 hours, 409 for another body; per model",
    ),
    (
        "X-Deadline-Ms",
        {"pattern": "^0*[1-9][0-9]*$"},
        "how long an answer is of use, in milliseconds; larger than the server's limit means the limit",
    ),
]
_PROBLEM_STATUSES: Final = ("400", "404", "408", "409", "413", "415", "422", "502", "503", "504")
# Of every operation: where the gateway asks for API keys, and of a call by a Host name that it does not know.
_ACCESS_STATUSES: Final = ("401", "403", "421", "429")


def ask_for_keys(document: dict[str, Any]) -> None:
    """Say in an OpenAPI *document* that calls carry a key."""
    document.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]


def as_sent(document: dict[str, Any]) -> None:
    """Say in an OpenAPI *document* in which media type problems of the Open Inference Protocol are sent."""
    for path, operations in document["paths"].items():
        if path.startswith(FOREIGN):
            for response in chain.from_iterable(one["responses"].values() for one in operations.values()):
                if problem := response.get("content", {}).pop(MEDIA_TYPE, None):
                    response["content"]["application/json"] = problem


def alive(description: str) -> dict[str, Any]:
    """Describe an operation that answers 503 itself; *description* says when."""
    return {"responses": {"503": {"description": description}, **_problems("404")}}


def found() -> dict[str, Any]:
    """Describe an operation that looks something up by the names in its path."""
    return {"responses": _problems("404", "422")}


def state() -> dict[str, Any]:
    """Describe an operation that shows the state of the system."""
    return {"responses": _problems("404", "503")}


def told() -> dict[str, Any]:
    """Describe an operation that tells what the process knows; on the public port it may not be there."""
    return {"responses": _problems("404")}


def redrive() -> dict[str, Any]:
    """Describe the operation that sends a dead letter again."""
    content = {"application/json": {"schema": {"type": "object"}, "examples": {"one": {"value": {}}}}}
    answer = _answer("It is on the log again", {"entry": "1763848800000-0", "status": "redriven"})
    return {
        "responses": {"202": answer, **_problems("404", "408", "413", "415", "422", "503")},
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def predict() -> dict[str, Any]:
    """Describe an operation that takes a `PredictBody`."""
    examples = {
        "one": {"summary": "One text", "value": {"text": "The movie was amazing!", "true_sentiment": "positive"}},
        "several": {
            "summary": "Several texts",
            "value": {
                "texts": ["A joy from start to end.", "I want my evening back."],
                "true_label": [None, "negative"],
            },
        },
        "partial": {
            "summary": "Several texts; one that is not valid is an error in its place (207)",
            "value": {"texts": ["A joy from start to end.", " "], "partial": True},
        },
        "options": {
            "summary": "All options",
            "value": {"text": "Not bad at all.", "threshold": 0.7, "tags": {"source": "docs"}, "subject": "u-17"},
        },
    }
    answer = {
        "200": _answer('The prediction, or `{"predictions": [...]}`', _PREDICTION),
        "202": {"description": "Accepted"},
        "207": {
            "description": "Some of several texts were lost with the log: send those again after `Retry-After`; or "
            "some are not valid, with `partial`: `id` is null, `error` says why"
        },
    }
    return _asking(PredictBody, examples, answer)


def infer() -> dict[str, Any]:
    """Describe an operation of the Open Inference Protocol that takes texts."""
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["The movie was amazing!"]}
    examples = {"one": {"summary": "One text", "value": {"id": "1", "inputs": [tensor]}}}
    outputs = [
        {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["positive"]},
        {"name": "confidence", "datatype": "FP32", "shape": [1], "data": [0.98]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.02, 0.98]},
    ]
    document = {"id": "1", "model_name": "sentiment", "model_version": "1", "outputs": outputs}
    later = _answer("Accepted: the answers at `/v1/predictions/{id}`", {"ids": [_ID]})
    return _asking(InferBody, examples, {"200": _answer("The tensors", document), "202": later})


def feedback() -> dict[str, Any]:
    """Describe the operation that takes a `FeedbackBody`."""
    examples = {"one": {"summary": "It was positive", "value": {"id": _ID, "label": "positive"}}}
    responses = {
        "200": _answer("The same label was given before", {"id": _ID, "status": "same"}),
        "202": _answer("Recorded", {"id": _ID, "status": "accepted"}),
        **_problems("400", "404", "408", "410", "413", "415", "422", "503"),
    }
    return {"responses": responses, "openapi_extra": {"requestBody": _body(FeedbackBody, examples)}}


def prediction() -> dict[str, Any]:
    """Describe the operation that asks for a prediction."""
    responses = {
        "200": _answer("The prediction", _PREDICTION),
        "202": _answer("Not answered yet", {"id": _ID, "status": "pending"}),
        **_problems("404", "410", "422", "502", "503", "504"),
    }
    return {"responses": responses}


def explain() -> dict[str, Any]:
    """Describe the operation that takes an `ExplainBody`."""
    examples = {
        "prediction": {"summary": "Why a prediction was made", "value": {"id": _ID}},
        "text": {"summary": "A text of the caller", "value": {"text": "The movie was amazing!"}},
    }
    responses = {
        "200": _answer("The same was explained before", _EXPLANATION),
        "202": _answer("It is being explained", {"id": _ID, "status": "pending", "progress": 0.0}),
        **_problems("400", "404", "408", "410", "413", "415", "422", "502", "503"),
    }
    return {"responses": responses, "openapi_extra": {"requestBody": _body(ExplainBody, examples)}}


def explanation() -> dict[str, Any]:
    """Describe the operation that asks for an explanation."""
    responses = {
        "200": _answer("The explanation", _EXPLANATION),
        "202": _answer("Not done yet", {"id": _ID, "status": "pending", "progress": 0.4}),
        **_problems("404", "410", "422", "502", "503"),
    }
    return {"responses": responses}


def stream() -> dict[str, Any]:
    """Describe the operation that shows one stream."""
    parameter = {
        "name": "count",
        "in": "query",
        "required": False,
        "description": "latest entries to show, without their texts",
        "schema": {"type": "integer", "minimum": 0, "maximum": 200, "default": 20},
    }
    return {"responses": _problems("404", "422", "503"), "openapi_extra": {"parameters": [parameter]}}


def _asking(schema: type[BaseModel], examples: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    headers = [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string", **schema_}}
        for name, schema_, text in _HEADERS
    ]
    return {
        "responses": {**answers, **_problems(*_PROBLEM_STATUSES)},
        "openapi_extra": {"parameters": headers, "requestBody": _body(schema, examples)},
    }


def _body(schema: type[BaseModel], examples: dict[str, Any]) -> dict[str, Any]:
    document = schema.model_json_schema()
    definitions = document.pop("$defs", {})
    return {
        "required": True,
        "content": {"application/json": {"schema": _inline(document, definitions), "examples": examples}},
    }


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    """Put each definition where it is referred to: an operation's description cannot add components."""
    match node:
        case {"$ref": str(reference)}:
            return _inline(definitions[reference.rpartition("/")[2]], definitions)
        case dict():
            return {name: _inline(value, definitions) for name, value in node.items()}
        case list():
            return [_inline(value, definitions) for value in node]
        case _:
            return node


def _answer(description: str, example: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"type": "object"}, "example": example}},
    }


def _problems(*statuses: str) -> dict[str, Any]:
    return {status: _problem(status) for status in sorted({*statuses, *_ACCESS_STATUSES})}


def _problem(status: str) -> dict[str, Any]:
    codes = [code for code, (number, _) in CODES.items() if str(number) == status]
    schema = {
        "type": "object",
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": codes},
            "id": {"type": "string"},
            "errors": {"type": "array", "items": {"type": "object"}},
        },
    }
    return {"description": ", ".join(codes), "content": {MEDIA_TYPE: {"schema": schema}}}
