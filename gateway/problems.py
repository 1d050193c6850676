"""Everything the gateway can answer besides an answer: RFC 9457 problems with a stable code, never the input."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import orjson
from starlette.responses import Response

from gateway.path_prefix import as_seen

MEDIA_TYPE: Final = "application/problem+json"
FOREIGN: Final = "/v2/"  # paths of the Open Inference Protocol

# code: HTTP status, title
CODES: Final[dict[str, tuple[int, str]]] = {
    "bad_request": (400, "The request is not valid HTTP"),
    "empty_body": (400, "The body is empty"),
    "invalid_json": (400, "The body is not JSON"),
    "invalid_utf8": (400, "The body is not UTF-8 without byte order mark"),
    "invalid_number": (400, "A number is not finite or too long"),
    "invalid_compression": (400, "The body is not compressed as Content-Encoding says"),
    "too_deep": (400, "The JSON is nested too deeply"),
    "duplicate_key": (400, "An object has the same key twice"),
    "invalid_deadline": (400, "X-Deadline-Ms is not a positive whole number"),
    "invalid_idempotency_key": (400, "Idempotency-Key is not 1 to 255 printable ASCII characters"),
    "invalid_tensor": (400, "The tensor's data does not match its shape and datatype"),
    "unauthorized": (401, "A valid API key is needed"),
    "forbidden": (403, "This API key does not allow that"),
    "not_found": (404, "There is nothing here"),
    "model_not_found": (404, "No worker has ever announced this model"),
    "version_not_loaded": (404, "No worker has this version loaded"),
    "version_unavailable": (404, "The wanted version is no longer loaded"),
    "method_not_allowed": (405, "This path does not take this method"),
    "request_timeout": (408, "The request did not arrive in time"),
    "idempotency_conflict": (409, "This Idempotency-Key was used for another request"),
    "expired": (410, "The prediction is older than predictions are kept"),
    "text_not_kept": (410, "The text is no longer on the log; send it with the request"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_encoding": (415, "A body in this Content-Encoding is not read"),
    "unsupported_media_type": (415, "The body must be application/json"),
    "bad_host": (421, "This server does not answer for that host"),
    "invalid_unicode": (422, "A string has a lone surrogate"),
    "control_char": (422, "A string has a NUL character"),
    "missing_field": (422, "A field is missing"),
    "unknown_field": (422, "A field is unknown"),
    "wrong_type": (422, "A value has the wrong type"),
    "blank_text": (422, "A text has no visible character"),
    "too_long": (422, "A string is too long"),
    "too_short": (422, "A string or list is too short"),
    "too_many_items": (422, "A list or mapping has too many items"),
    "out_of_range": (422, "A number is out of range"),
    "invalid_value": (422, "A value is not allowed"),
    "bad_label": (422, "The label is not one of the model's"),
    "malformed": (422, "The request could not be read by a worker"),
    "too_many_tokens": (422, "The text is longer than the model reads"),
    "rate_limited": (429, "This caller sends more requests a second than its share"),
    "too_many_open_requests": (429, "This caller has more open requests than its share"),
    "headers_too_large": (431, "The headers are too large"),
    "internal": (500, "Something went wrong here"),
    "unsupported_transfer_coding": (501, "No transfer coding but chunked is read"),
    "inference_failed": (502, "The model failed on this text"),
    "explanation_failed": (502, "The explanation of this text failed"),
    "overloaded": (503, "There is more to do than can be done in time"),
    "broker_unavailable": (503, "The log cannot be reached"),
    "model_unavailable": (503, "No worker serves this model now"),
    "version_changed": (503, "The version changed while the call was answered; send it again"),
    "explainer_unavailable": (503, "No explainer runs now"),
    "deadline_exceeded": (504, "The answer did not come in time"),
}
RETRY_S: Final[dict[str, tuple[int, int]]] = {  # bounds of the jittered Retry-After
    "rate_limited": (1, 2),
    "too_many_open_requests": (1, 2),
    "overloaded": (1, 5),
    "broker_unavailable": (1, 5),
    "model_unavailable": (2, 10),
    "version_changed": (1, 5),
    "explainer_unavailable": (5, 15),
}


class Problem(Exception):  # noqa: N818 - the RFC's word; it is an answer, not a failure of ours
    """An answer that ends the request."""

    def __init__(self, code: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(code)
        self.code = code
        self.status = CODES[code][0]
        self.members = members
        self.headers = dict(headers or {})

    @classmethod
    def invalid(cls, errors: Sequence[dict[str, Any]]) -> Self:
        """Say what is wrong with which fields; the first error gives the code."""
        return cls(errors[0]["code"], errors=list(errors))

    @classmethod
    def of_field(cls, pointer: str, code: str, **limits: Any) -> Self:
        """Say what is wrong with one field."""
        return cls.invalid([{"pointer": pointer, "code": code, **limits}])

    @classmethod
    def of_prediction(cls, prediction_id: str, code: str) -> Self:
        """Say what became of a prediction that has an id; an answer that may still come has an address."""
        if code != "deadline_exceeded":
            return cls(code, id=prediction_id)
        where = result_url(prediction_id)
        return cls(code, headers={"Location": where}, id=prediction_id, result_url=where)

    def response(self, path: str = "") -> Response:
        """Return the HTTP response to a request for *path*."""
        media_type = MEDIA_TYPE
        if path.startswith(FOREIGN):
            self.members["error"] = CODES[self.code][1]  # where the Open Inference Protocol's clients look
            media_type = "application/json"  # KServe's looks nowhere else
        if self.code in RETRY_S:
            self.headers.setdefault("Retry-After", retry_after(self.code))
        return Response(self.body(), self.status, self.headers, media_type)

    def body(self) -> bytes:
        """Return the problem+json document."""
        return orjson.dumps(
            {
                "type": f"urn:problem:{self.code}",
                "title": CODES[self.code][1],
                "status": self.status,
                "code": self.code,
                **self.members,
            }
        )


def retry_after(code: str) -> str:
    """Return in how many seconds to try again, never the same for all."""
    return str(random.randint(*RETRY_S[code]))


def result_url(prediction_id: str) -> str:
    """Return where a prediction can be asked for."""
    return as_seen(f"/v1/predictions/{prediction_id}")
