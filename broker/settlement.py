"""What came of one entry, and the row that tells the script that settles."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from broker.answers import owner_suffix
from broker.events import SCHEMA_VERSION, Request, Result
from broker.script_keys import ScriptKeys, flat
from broker.streams import UUID_LENGTH, Tag, time_ms_of


@dataclass(frozen=True, slots=True)
class DeadNote:
    """Why an entry is given up; its own fields are copied by the script."""

    reason: Literal["malformed", "crashed", "inference_failed"]
    detail: str
    deliveries: int
    worker: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What came of one entry: a result with its answer, a dead letter, or both.

    An entry that cannot be read has neither request nor result, only a dead note. An entry that was answered before
    needs nothing but its id: it is acknowledged.
    """

    entry_id: str
    request: Request | None = None
    result: Result | None = None
    answer: bytes | None = None
    dead: DeadNote | None = None


def row_of(tag: Tag, settlement: Settlement, keys: ScriptKeys, answer: Iterator[int]) -> dict[str, Any]:
    """Return the row of *settlement*, as `settle.lua` reads it; *answer* gives the positions of answers."""
    request, result = settlement.request, settlement.result
    row: dict[str, Any] = {"entry": settlement.entry_id, "answers": 0, "joins": 0, "replies": 0}
    if request and result and settlement.answer:
        time_ms = time_ms_of(result.id)
        row |= {
            "id": result.id,
            "uuid": result.id[-UUID_LENGTH:],
            "hour": str(time_ms // 3_600_000),
            "answers": keys.answers(time_ms),
            "joins": keys.joins(time_ms),
            "replies": keys.position(tag.replies(request.reply_to)) if request.reply_to else 0,
            "result": flat(result.to_fields()),
            "answer": next(answer),
            "owner": owner_suffix(result.key),
        }
        if result.label is not None:
            tags = orjson.dumps(result.tags).decode()
            row["row"] = [result.label, f"{result.confidence:.4f}", result.version, "", tags]
            if owner_suffix(result.key):
                row["row"] += [0, result.key]  # the script fills the place before
            row["ms"] = time_ms
            if request.true_label is not None:
                row["label"] = request.true_label
    if settlement.dead:
        row["dead"] = flat(_dead_fields(settlement, settlement.dead))
    return row


def _dead_fields(settlement: Settlement, note: DeadNote) -> dict[str, str]:
    identity = {"id": settlement.request.id} if settlement.request else {}
    return {
        "schema_version": str(SCHEMA_VERSION),
        **identity,
        "entry_id": settlement.entry_id,
        "reason": note.reason,
        "detail": note.detail,
        "deliveries": str(note.deliveries),
        "worker": note.worker,
    }
