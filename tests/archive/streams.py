"""Entries of all three streams of one model, as the services write them, and what the archive holds of them."""

import random
from typing import Any

from redis import Redis

from broker.archived import Archive
from broker.events import Feedback, Request, Result
from broker.streams import PredictionId, Tag

TAG = Tag("sentiment")
KINDS = ("requests", "results", "feedback")
LABELS = ("negative", "positive")


def events(number: int, draw: random.Random, subject: str | None = None) -> dict[str, Any]:
    """One request, its result, and its label."""
    identity = str(PredictionId.new(TAG))
    share = round(draw.random(), 6)
    label = draw.choice(LABELS)
    return {
        "requests": Request(id=identity, text=f"text {number} \u00e9", subject=subject, tags={"team": "a"}),
        "results": Result(
            id=identity,
            version="1",
            status="ok",
            label=label,
            label_id=LABELS.index(label),
            confidence=share,
            probabilities={"negative": round(1 - share, 6), "positive": share},
            queue_ms=1.25,
            worker="w",
        ),
        "feedback": Feedback(
            id=identity, label=draw.choice(LABELS), predicted=label, confidence=share, version="1", source="caller"
        ),
    }


def add(client: Redis, count: int, *, seed: int = 1, subject: str | None = None) -> list[str]:
    """Write *count* of each to the log; return their ids."""
    draw, ids = random.Random(seed), []
    pipeline = client.pipeline()  # at once: who reads meanwhile sees all or nothing
    for number in range(count):
        made = events(number, draw, subject)
        ids.append(made["requests"].id)
        for kind, event in made.items():
            pipeline.xadd(TAG.key(kind), event.to_fields())
    pipeline.execute()
    return ids


def logged(client: Redis, kind: str) -> list[tuple[str, dict[bytes, bytes]]]:
    found: Any = client.xrange(TAG.key(kind))
    return [(entry_id.decode(), fields) for entry_id, fields in found]


def archived(archive: Archive, kind: str) -> list[tuple[str, dict[bytes, bytes]]]:
    return list(archive.entries(TAG, kind))


def rows_in_files(archive: Archive, kind: str) -> int:
    """Rows as somebody counts them who reads every file: one that is in two files counts twice."""
    return sum(archive.rows(part) for part in archive.parts(TAG, kind))
