"""Entries of any time range, from the archive and from the log, each once and in order."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis

from broker.settings import BrokerSettings
from broker.streams import Tag

if TYPE_CHECKING:
    from broker.archived import Archive

PAGE: Final = 2000
LAST_SEQUENCE: Final = 2**63

Entry = tuple[str, dict[bytes, bytes]]  # entry id, fields


def archive_of(settings: BrokerSettings) -> "Archive | None":
    """Return the archive, or None where none is set.

    Raises:
        SettingsError: it cannot be opened here.

    """
    if settings.archive is None:
        return None
    from broker.archived import Archive  # noqa: PLC0415 - a library of 100 MB that only an archive needs

    return Archive(settings.archive, settings.store_timeout_s)


@dataclass(frozen=True, slots=True)
class Past:
    """What may be read of the past: the log, the archive, or both, where what both have is taken once."""

    log: Redis | None
    archive: "Archive | None"

    async def pages(self, tag: Tag, kind: str, first_ms: int, last_ms: int) -> AsyncIterator[list[Entry]]:
        """Return the entries of one stream with a time from *first_ms* to *last_ms*, both included, a page at a time.

        Raises:
            redis.exceptions.RedisError: the log cannot be read.
            OSError: the archive cannot.

        """
        sources = []
        if self.archive is not None:
            sources.append(_Ahead(_archived(self.archive, tag, kind, first_ms, last_ms)))
        if self.log is not None:
            sources.append(_Ahead(_logged(self.log, tag.key(kind), first_ms, last_ms)))
        for source in sources:
            await source.fill()
        while any(source.entries for source in sources):
            # Up to here every source has shown all it has: nothing that is still to come belongs before this.
            bound = min(_order(source.entries[-1][0]) for source in sources if source.entries)
            page = {entry_id: fields for source in sources for entry_id, fields in source.taken(bound)}
            yield sorted(page.items(), key=lambda entry: _order(entry[0]))
            for source in sources:
                await source.fill()


class _Ahead:
    """One source and the page of it that is next."""

    def __init__(self, source: AsyncIterator[list[Entry]]) -> None:
        self.entries: list[Entry] = []
        self._source = source

    async def fill(self) -> None:
        """Read on, if nothing is left."""
        if not self.entries:
            self.entries = await anext(self._source, [])

    def taken(self, bound: tuple[int, int]) -> list[Entry]:
        """Take and return what is not after *bound*."""
        chosen = [entry for entry in self.entries if _order(entry[0]) <= bound]
        self.entries = self.entries[len(chosen) :]
        return chosen


async def _logged(redis: Redis, stream: str, first_ms: int, last_ms: int) -> AsyncIterator[list[Entry]]:
    first = f"{first_ms}-0"
    while True:
        found: Any = await redis.xrange(stream, first, f"{last_ms}-{LAST_SEQUENCE}", PAGE)
        if not found:
            return
        yield [(entry_id.decode(), fields) for entry_id, fields in found]
        first = f"({found[-1][0].decode()}"


async def _archived(archive: "Archive", tag: Tag, kind: str, first_ms: int, last_ms: int) -> AsyncIterator[list[Entry]]:
    entries = archive.entries(tag, kind, f"{first_ms}-0", f"{last_ms}-{LAST_SEQUENCE}")
    while page := await asyncio.to_thread(_page, entries):
        yield page


def _page(entries: Iterator[Entry]) -> list[Entry]:
    return list(islice(entries, PAGE))


def _order(entry_id: str) -> tuple[int, int]:
    time_ms, _, sequence = entry_id.partition("-")
    return int(time_ms), int(sequence)
