"""Where counting again may begin: a kept checkpoint, or the archive."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from broker.errors import SettingsError
from broker.streams import Tag
from monitor.columns import Entry
from monitor.settings import MonitorSettings
from monitor.snapshot import read_checkpoints
from monitor.state import STATE_VERSION, State

PAGE: Final = 5000  # entries folded at a time


async def whole_log(redis: Redis, tag: Tag) -> bool:
    """Tell whether the log still has every entry that was ever added to what the monitor reads."""
    return await _from(redis, tag.results, "0-0", 0) and await _from(redis, tag.feedback, "0-0", 0)


async def oldest_checkpoint(
    redis: Redis, tag: Tag, born: str, decoded: Callable[[bytes], Awaitable[State]]
) -> State | None:
    """Return the oldest kept state, of the log *born*, from which on the log still has every entry."""
    for checkpoint in await read_checkpoints(redis, tag):
        if checkpoint.born != born or orjson.loads(checkpoint.state)["state_version"] != STATE_VERSION:
            continue  # counts of another log, or detectors that an older monitor left behind
        state = await decoded(checkpoint.state)
        results, feedback = state.folds
        if await _from(redis, tag.results, results.position, results.entries_read) and await _from(
            redis, tag.feedback, feedback.position, feedback.entries_read
        ):
            return state
    return None


def archived(settings: MonitorSettings, tag: Tag, kind: str, born: str, last: str) -> Iterator[Sequence[Entry]]:
    """Yield what the archive holds of one stream of the log *born*, up to entry *last*, in pages.

    Raises:
        SettingsError: there is no archive, or the library that reads it is not installed.

    """
    if settings.archive is None:
        raise SettingsError("no archive is named; set OBSERVA_ARCHIVE, or leave out --archive")
    try:
        from broker.archived import Archive, mark_of  # noqa: PLC0415 the monitor itself needs no Parquet
    except ImportError:
        raise SettingsError("the archive's library is not installed; run: just archive") from None
    entries = Archive(settings.archive, settings.store_timeout_s).entries(tag, kind, last=last, mark=mark_of(born))
    while page := [(entry_id.encode(), fields) for entry_id, fields in islice(entries, PAGE)]:
        yield page


async def _from(redis: Redis, stream: str, position: str, read: int) -> bool:
    """Tell whether *stream* has every entry after *position*, up to which *read* were ever added."""
    try:
        info: Any = await redis.xinfo_stream(stream)
    except ResponseError:  # there is none
        return True
    first = info["first-entry"]
    gone = int(info["entries-added"]) - int(info["length"])
    return gone <= read or bool(first and _order(first[0].decode()) <= _order(position))


def _order(entry_id: str) -> tuple[int, int]:
    time_ms, _, sequence = entry_id.partition("-")
    return int(time_ms), int(sequence)
