"""Labels that came to the running system, joined with the texts they are of: from the log, and from the archive."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

from redis.exceptions import RedisError

from broker.connection import connect
from broker.errors import BrokerUnavailableError, MalformedEntryError, NewerSchemaError
from broker.events import Feedback, Request
from broker.forgetting import ERASED
from broker.ranges import Entry, Past, archive_of
from broker.settings import BrokerSettings, load_settings
from broker.streams import Tag
from trainer.rows import Row

EVALUATION: Final = "evaluation"  # the tag of an evaluation run: its texts judge models, none may learn from them
HOUR_MS: Final = 3_600_000
UNITS_MS: Final = {"h": HOUR_MS, "d": 24 * HOUR_MS}
FAR_MS: Final = 2**52  # later than any entry


def rows(model: str, since: str) -> list[Row]:
    """Return the texts of *model* that got a label since then, the newest label first; of several the last one counts.

    Raises:
        SettingsError: texts are not kept, or the archive cannot be opened.
        BrokerUnavailableError: the log cannot be read.

    """
    settings = load_settings(BrokerSettings)
    settings.need_texts("a data set of collected labels")
    return asyncio.run(_rows(settings, model, since_ms(since, time.time())))


def since_ms(since: str, now_s: float) -> int:
    """Return the Unix milliseconds of a date, a time, or a number of hours or days before *now_s*, such as 30d."""
    if found := re.fullmatch(r"(\d+)([hd])", since):
        return max(0, int(now_s * 1000) - int(found[1]) * UNITS_MS[found[2]])
    at = datetime.fromisoformat(since)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


async def _rows(settings: BrokerSettings, model: str, first_ms: int) -> list[Row]:
    redis = connect(settings, "trainer")
    past, found = Past(redis, archive_of(settings)), []
    asked_ms = max(0, first_ms - int(settings.join_retention_h * HOUR_MS))  # a label may come so late
    try:
        for shard in range(settings.shards):
            tag = Tag(model, shard)
            labels = await _labels(past.pages(tag, "feedback", first_ms, FAR_MS))
            found += await _texts(past.pages(tag, "requests", asked_ms, FAR_MS), tag, labels)
    except RedisError as error:
        raise BrokerUnavailableError(f"the log cannot be read ({error}); run: just up") from error
    finally:
        await redis.aclose()
    return [row for _, row in sorted(found, key=lambda each: each[0], reverse=True)]


async def _labels(pages: AsyncIterator[list[Entry]]) -> dict[str, tuple[str, str]]:
    """Return prediction id to the entry that labelled it last, and the label."""
    labels = {}
    async for page in pages:
        for entry_id, fields in page:
            event = _read(fields)
            if event and EVALUATION not in event.tags:
                labels[event.id] = (entry_id, event.label)
    return labels


async def _texts(
    pages: AsyncIterator[list[Entry]], tag: Tag, labels: dict[str, tuple[str, str]]
) -> list[tuple[tuple[int, int], Row]]:
    """Return when each text was labelled, and the text with its label; one that is not kept any more is left out."""
    found = []
    async for page in pages:
        for entry_id, fields in page:
            if ERASED in fields:
                continue
            try:
                request = Request.from_entry(tag, entry_id, fields)
            except (MalformedEntryError, NewerSchemaError):
                continue
            if labelled := labels.pop(request.id, None):
                at, _, number = labelled[0].partition("-")
                found.append(((int(at), int(number)), Row(request.text, labelled[1])))
    return found


def _read(fields: dict[bytes, bytes]) -> Feedback | None:
    try:
        return None if ERASED in fields else Feedback.from_fields(fields)
    except (MalformedEntryError, NewerSchemaError):
        return None
