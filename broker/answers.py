"""What a caller is told: the prediction, or one of a closed set of problems; stored and sent as these bytes."""

from dataclasses import dataclass
from typing import Final, Literal, TypedDict

import orjson

PENDING: Final = b"pending"
KEYLESS: Final = "-"  # in place of an API key's id, where none was asked for
_OWNER: Final = b"\n"  # before the id of the API key, behind what is kept for its caller; no JSON of ours has one

ErrorCode = Literal[
    "deadline_exceeded",
    "version_unavailable",
    "too_many_tokens",
    "inference_failed",
    "malformed",
]

# The HTTP status each worker-side error becomes.
STATUS: Final[dict[ErrorCode, int]] = {
    "deadline_exceeded": 504,
    "version_unavailable": 404,
    "too_many_tokens": 422,
    "inference_failed": 502,
    "malformed": 422,
}


class Timing(TypedDict):
    """Milliseconds: waiting in the log, in the model's batch, and from acceptance to the answer."""

    queue: float
    inference: float
    total: float


@dataclass(slots=True, kw_only=True)  # frozen, it would take three times as long to make
class Prediction:
    """The answer to one text."""

    id: str
    model: str
    version: str
    label: str
    label_id: int
    confidence: float
    probabilities: dict[str, float]
    abstained: bool
    truncated: bool
    timing_ms: Timing

    def encode(self) -> bytes:
        """Return the JSON that the caller receives."""
        return orjson.dumps(self)


def owner_suffix(key: str | None) -> str:
    """Return what is stored behind an answer, or behind ``pending``, that the API key *key* asked for."""
    return "" if key in {None, KEYLESS} else f"{_OWNER.decode()}{key}"


def split_owner(stored: bytes) -> tuple[bytes, str | None]:
    """Return what is stored for a caller, and the id of the API key that asked; None where none did."""
    content, _, key = stored.partition(_OWNER)
    return content, key.decode() or None


def encode_error(prediction_id: str, code: ErrorCode) -> bytes:
    """Return the JSON that stands for a failed prediction: ``{"id", "error": {"code", "status"}}``."""
    return orjson.dumps({"id": prediction_id, "error": {"code": code, "status": STATUS[code]}})
