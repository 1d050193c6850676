"""Erasing what the archive holds of predictions, or of a subject: its files are written anew without it."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from redis.asyncio import Redis

from broker.archived import Part, order
from broker.archived_rows import KINDS
from broker.archiving import ArchiveWriter
from broker.errors import LeaseTakenError
from broker.groups import groups_of
from broker.leases import FILES_LEASE, Lease, held
from broker.streams import ARCHIVE, PredictionId, Tag

AGAIN_S: Final = 0.2
LEASE_WAIT_S: Final = 30


def archived_ids_of(archive: ArchiveWriter, tags: Iterable[Tag], subject: str) -> set[str]:
    """Return the ids of all archived requests that *subject* sent."""
    found = set[str]()
    for tag in tags:
        for part in archive.parts(tag, "requests"):
            for batch in archive.batches(part, ["id", "entry_id", "subject", "fields"]):
                for row in _rows(batch, "subject", {subject}):
                    found.add(_identity(tag, row))
    return found


async def wait_written(redis: Redis, tags: Iterable[Tag], wait_s: float) -> Counter[str]:
    """Wait until all that is on the log now is in files; return entries that are not, by stream, after *wait_s*.

    What an archiver has in memory would come into a file after the files were looked at.
    """
    left: Counter[str] = Counter()
    end = time.monotonic() + wait_s
    for tag in tags:
        for kind in KINDS:
            stream = tag.key(kind)
            newest: Any = await redis.xrevrange(stream, count=1)
            while newest:
                group = await _archive_group(redis, stream)
                if group is None or order(group["last-delivered-id"].decode()) >= order(newest[0][0].decode()):
                    break
                if time.monotonic() > end:
                    left[stream] += group["lag"] or 1
                    break
                await redis.set(tag.flush, 1, ex=10)
                await asyncio.sleep(AGAIN_S)
    return left


async def forget_archived(redis: Redis, archive: ArchiveWriter, tags: Iterable[Tag], ids: set[str]) -> Counter[str]:
    """Erase everything of *ids* from the files; return how many rows, by kind.

    A file is replaced whole: who reads it meanwhile reads it with or without the rows. The archiver goes on, and only
    waits for its next file.

    Raises:
        LeaseTakenError: another process has been writing files all the time.
        OSError: a file cannot be written; it is as it was.

    """
    erased: Counter[str] = Counter()
    for tag in tags:
        mine = {one for one in ids if PredictionId.parse(one).tag == tag}
        if not mine:
            continue
        async with held(redis, tag.lease(FILES_LEASE), wait_s=LEASE_WAIT_S) as lease:
            for kind in KINDS:
                for part in await asyncio.to_thread(archive.parts, tag, kind):
                    erased[kind] += await asyncio.to_thread(_rewrite, archive, part, mine, lease)
    return erased


def _rewrite(archive: ArchiveWriter, part: Part, ids: set[str], lease: Lease) -> int:
    """Write *part* without the rows of *ids*, if it has any.

    Raises:
        LeaseTakenError: the lease was lost, so that somebody else may be joining this file.

    """
    columns = ["id", "entry_id", "fields"]
    gone = {
        row["entry_id"] for batch in archive.batches(part, columns) for row in _rows(batch, "id", ids, tag=part.tag)
    }
    if not gone:
        return 0
    batches = list(archive.batches(part, whole=True))
    table = pa.Table.from_batches(batches)
    kept = table.filter(pc.invert(pc.is_in(table["entry_id"], pa.array(sorted(gone)))))
    if not archive.write(part, kept, only_if=lease.holds):
        raise LeaseTakenError(f"{part.path}: another process writes files now; run it again in a minute")
    return len(gone)


def _rows(batch: pa.RecordBatch, name: str, values: set[str], tag: Tag | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows whose column *name*, or whose field of that name on the log, is one of *values*."""
    wanted = pc.is_in(batch.column(name), pa.array(sorted(values), pa.string()))
    odd = pc.is_valid(batch.column("fields"))  # the columns may not say all
    for row in batch.filter(pc.or_(pc.fill_null(wanted, False), odd)).to_pylist(maps_as_pydicts="lossy"):  # noqa: FBT003
        on_log = (row["fields"] or {}).get(name.encode(), b"").decode(errors="replace")
        derived = _identity(tag, row) if tag and name == "id" else None
        if values & {row[name], on_log, derived}:
            yield row


def _identity(tag: Tag, row: dict[str, Any]) -> str:
    written = (row["fields"] or {}).get(b"id", b"").decode(errors="replace")
    return str(PredictionId.known_by(tag, row["entry_id"], row["id"] or written))


async def _archive_group(redis: Redis, stream: str) -> dict[str, Any] | None:
    return next((group for group in await groups_of(redis, stream) if group["name"] == ARCHIVE.encode()), None)
