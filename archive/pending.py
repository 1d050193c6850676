"""What was read and is not in a file yet: columns, cut at every full hour, and counted."""

import threading
import time
from dataclasses import dataclass, field

import pyarrow as pa

from broker.archived import HOUR_MS
from broker.archived_rows import SCHEMAS, Entry, batch_of
from broker.streams import Tag, entry_time_ms


@dataclass(slots=True)
class Memory:
    """Bytes that all streams of the process hold together, and how many they may; streams are read in threads."""

    most: int
    held: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def change(self, by: int) -> None:
        """Count bytes that are held from now on, or, below 0, no longer."""
        with self._lock:
            self.held += by

    @property
    def full(self) -> bool:
        """Whether to write before reading on."""
        return self.held >= self.most


@dataclass(slots=True)
class Chunk:
    """Entries of one hour, in order: what will be one file."""

    hour_ms: int
    ids: list[str] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(int(batch.nbytes) for batch in self.batches) + 64 * len(self.ids)

    def table(self, kind: str) -> pa.Table:
        """Return all of it as one table."""
        return pa.Table.from_batches(self.batches, SCHEMAS[kind])


class Pending:
    """The entries of one stream that wait for their file."""

    def __init__(self, tag: Tag, kind: str, memory: Memory) -> None:
        self.chunks: list[Chunk] = []
        self.since_s: float | None = None  # time.monotonic() of the first read
        self._tag = tag
        self._kind = kind
        self._memory = memory

    def __bool__(self) -> bool:
        return bool(self.chunks)

    @property
    def oldest_ms(self) -> int | None:
        """Redis time of the oldest entry."""
        return entry_time_ms(self.chunks[0].ids[0]) if self.chunks else None

    @property
    def last(self) -> str | None:
        """Id of the newest entry."""
        return self.chunks[-1].ids[-1] if self.chunks else None

    @property
    def rows(self) -> int:
        """How many entries they are."""
        return sum(len(chunk.ids) for chunk in self.chunks)

    @property
    def age_s(self) -> float:
        """Seconds since the first of them was read; 0 without any."""
        return time.monotonic() - self.since_s if self.since_s is not None and self.chunks else 0.0

    def add(self, entries: list[Entry]) -> None:
        """Take the next entries of the stream."""
        if not self.chunks:
            self.since_s = time.monotonic()
        start = 0
        for end in range(1, len(entries) + 1):
            if end == len(entries) or _hour(entries[end]) != _hour(entries[start]):
                self._add(_hour(entries[start]), entries[start:end])
                start = end

    def written(self, chunk: Chunk) -> None:
        """Let go of the first chunk."""
        self.chunks.remove(chunk)
        self._memory.change(-chunk.size)
        self.since_s = time.monotonic()

    def clear(self) -> None:
        """Let go of everything."""
        for chunk in list(self.chunks):
            self.written(chunk)

    def _add(self, hour_ms: int, entries: list[Entry]) -> None:
        if not self.chunks or self.chunks[-1].hour_ms != hour_ms:
            self.chunks.append(Chunk(hour_ms))
        chunk = self.chunks[-1]
        before = chunk.size
        chunk.batches.append(batch_of(self._tag, self._kind, entries))
        chunk.ids += [entry_id for entry_id, _ in entries]
        self._memory.change(chunk.size - before)


def _hour(entry: Entry) -> int:
    return entry_time_ms(entry[0]) // HOUR_MS * HOUR_MS
