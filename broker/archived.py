"""What the log held, as Parquet files in a folder or an object store. docs/archive.md describes the layout.

ARCHIVE/model=sentiment/kind=results/date=2026-11-23/hour=05/SHARD-MARK-FIRST-LAST.parquet

A file holds the entries FIRST to LAST of one stream of one log, in order, and is never changed while it has that name,
except to forget somebody. MARK names the log: after Redis lost its data, entry ids may begin anew.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from broker.archived_rows import SCHEMAS, Entry, entries_of
from broker.bounded_files import LIMIT_S, bounded
from broker.errors import DamagedFileError, SettingsError
from broker.streams import Tag, entry_time_ms

HOUR_MS: Final = 3_600_000
START: Final = "0-0"
ROWS: Final = 2000  # turned into Python objects at a time
_ASIDE: Final = ".unfinished"  # on the same file system, and no reader looks there
_NAME = re.compile(r"(\d{1,4})-([0-9a-f]{16})-(\d+-\d+)-(\d+-\d+)\.parquet")


@dataclass(frozen=True, slots=True)
class Part:
    """One file: a range of one stream."""

    tag: Tag
    kind: str  # requests, results or feedback
    mark: str  # of the log
    first: str  # entry ids
    last: str
    hour_ms: int  # Unix milliseconds at which its hour began

    @classmethod
    def of(cls, tag: Tag, kind: str, mark: str, ids: Sequence[str]) -> Self:
        """Return the part that holds the entries *ids*, all of one hour."""
        hour_ms = entry_time_ms(ids[0]) // HOUR_MS * HOUR_MS
        return cls(tag, kind, mark, ids[0], ids[-1], hour_ms)

    @property
    def folder(self) -> str:
        """Its hour's folder, below the archive's."""
        return hour_folder(self.tag.model, self.kind, self.hour_ms)

    @property
    def path(self) -> str:
        """Its place below the archive's folder."""
        return f"{self.folder}/{self.tag.shard}-{self.mark}-{self.first}-{self.last}.parquet"

    def holds(self, other: "Part") -> bool:
        """Tell whether every entry of *other* is in here, too."""
        mine, theirs = (self.tag, self.kind, self.mark), (other.tag, other.kind, other.mark)
        return mine == theirs and order(self.first) <= order(other.first) and order(other.last) <= order(self.last)


def order(entry_id: str) -> tuple[int, int]:
    """Return what sorts entry ids as their stream does."""
    time_ms, _, sequence = entry_id.partition("-")
    return int(time_ms), int(sequence)


def mark_of(born: str) -> str:
    """Return how file names say which log they are of."""
    return born if re.fullmatch("[0-9a-f]{16}", born) else hashlib.blake2b(born.encode(), digest_size=8).hexdigest()


class Archive:
    """The files below one folder or URL that fsspec knows. No reader needs Redis.

    Raises:
        SettingsError: the URL's kind is unknown here, or needs a package that is not installed.

    """

    def __init__(self, url: str, limit_s: float = LIMIT_S) -> None:
        try:
            fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:  # some connect at once
            raise SettingsError(f"OBSERVA_ARCHIVE={url}: {error}") from None
        self.url = url
        self.fs: Any = bounded(fs, limit_s)
        self.root: str = root.rstrip("/")

    def entries(
        self, tag: Tag, kind: str, first: str = START, last: str | None = None, mark: str | None = None
    ) -> Iterator[Entry]:
        """Return the entries of one stream from *first* to *last*, both included, each once and as it was on the log.

        They come in the order of the stream; where Redis lost its data in between, one log after the other. *mark*
        chooses the log. Nothing is held but one page of one file, and files may be joined or dropped meanwhile.
        """
        parts = self.parts(tag, kind, entry_time_ms(first), entry_time_ms(last) if last else None)
        for log in _in_order_of_birth(parts):
            if mark is None or log == mark:
                yield from self._of_log(tag, kind, log, order(first), order(last) if last else None)

    def parts(self, tag: Tag, kind: str, since_ms: int = 0, until_ms: int | None = None) -> list[Part]:
        """Return the files of one stream whose hour is within the given Unix milliseconds, by mark and range."""
        found = []
        for hour_ms in self.hours(tag.model, kind):
            if hour_ms + HOUR_MS > since_ms and (until_ms is None or hour_ms <= until_ms):
                found += self.parts_of_hour(tag, kind, hour_ms)
        return sorted(found, key=lambda part: (part.mark, order(part.first), [-number for number in order(part.last)]))

    def parts_of_hour(self, tag: Tag, kind: str, hour_ms: int) -> list[Part]:
        """Return the files of one stream and hour, in no order."""
        matches = [_NAME.fullmatch(name) for name in self.names(hour_folder(tag.model, kind, hour_ms))]
        return [
            Part(tag, kind, match[2], match[3], match[4], hour_ms)
            for match in matches
            if match and int(match[1]) == tag.shard
        ]

    def hours(self, model: str, kind: str) -> list[int]:
        """Return the hours that have a folder, as the Unix milliseconds at which they began, sorted."""
        top, found = f"model={model}/kind={kind}", []
        for date in self.names(top):
            for hour in self.names(f"{top}/{date}"):
                with suppress(ValueError):
                    at = datetime.strptime(f"{date} {hour}", "date=%Y-%m-%d hour=%H").replace(tzinfo=UTC)
                    found.append(int(at.timestamp() * 1000))
        return sorted(found)

    def models(self) -> list[str]:
        """Return the names of the archived models, sorted."""
        return sorted(name.removeprefix("model=") for name in self.names("") if name.startswith("model="))

    def batches(
        self, part: Part, columns: Sequence[str] | None = None, *, whole: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Return the rows of *part*, a page at a time; of *columns* or those known here, or *whole* with all it has.

        Raises:
            FileNotFoundError: it was joined with others, or its time was over.
            DamagedFileError: it cannot be read.

        """
        with self._opened(part) as parquet:
            known = columns or SCHEMAS[part.kind].names
            wanted = [name for name in parquet.schema_arrow.names if whole or name in known]
            yield from parquet.iter_batches(ROWS, columns=wanted)

    def rows(self, part: Part) -> int:
        """Return how many entries *part* holds, from its last bytes."""
        with self._opened(part) as parquet:
            return int(parquet.metadata.num_rows)

    def size(self, part: Part) -> int:
        """Return the bytes of *part*."""
        return int(self.fs.info(f"{self.root}/{part.path}")["size"])

    @contextmanager
    def _opened(self, part: Part) -> Iterator[pq.ParquetFile]:
        path = f"{self.root}/{part.path}"
        with self.fs.open(path, "rb") as file:
            try:
                yield pq.ParquetFile(file)
            except pa.ArrowException as error:
                raise DamagedFileError(f"{path} is damaged; put it right, or move it away") from error

    def _of_log(
        self, tag: Tag, kind: str, log: str, first: tuple[int, int], last: tuple[int, int] | None
    ) -> Iterator[Entry]:
        position, before = (first[0], first[1] - 1), -1
        while True:
            try:
                for entry in self._after(tag, kind, log, position, last):
                    position = order(entry[0])
                    yield entry
            except FileNotFoundError:  # joined with others, or too old by now: look again
                if before == (before := len(self.parts(tag, kind))):
                    raise
            else:
                return

    def _after(
        self, tag: Tag, kind: str, log: str, position: tuple[int, int], last: tuple[int, int] | None
    ) -> Iterator[Entry]:
        for part in self.parts(tag, kind, position[0], last[0] if last else None):
            if part.mark != log or order(part.last) <= position:
                continue  # of another log, or its rows are in a joined file, too
            for batch in self.batches(part):
                for entry in entries_of(kind, batch):
                    if position < order(entry[0]) and (last is None or order(entry[0]) <= last):
                        position = order(entry[0])
                        yield entry

    def names(self, folder: str) -> list[str]:
        """Return what is in *folder*, which is below the archive's, sorted; nothing where there is none."""
        with suppress(FileNotFoundError, NotADirectoryError):
            listed = self.fs.ls(f"{self.root}/{folder}".rstrip("/"), detail=False, refresh=True)
            return sorted(path.rstrip("/").rpartition("/")[2] for path in listed)
        return []


def hour_folder(model: str, kind: str, hour_ms: int) -> str:
    """Return the folder of one hour, below the archive's."""
    at = datetime.fromtimestamp(hour_ms / 1000, UTC)
    return f"model={model}/kind={kind}/date={at:%Y-%m-%d}/hour={at:%H}"


def _in_order_of_birth(parts: Sequence[Part]) -> list[str]:
    born: dict[str, tuple[int, int]] = {}
    for part in parts:
        born[part.mark] = min(born.get(part.mark, order(part.first)), order(part.first))
    return sorted(born, key=lambda mark: born[mark])
