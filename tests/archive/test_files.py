"""The files themselves: what a kill between two steps leaves, joining, retention, memory, and where they may be."""

import asyncio
import random
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from redis import Redis as SyncRedis

from archive.app import opened
from archive.follower import Follower
from archive.pending import Chunk, Memory, Pending
from archive.positions import MovedError, Position
from archive.settings import ArchiveSettings
from archive.upkeep import join_hour
from broker.archived import HOUR_MS, START, Archive, Part, mark_of
from broker.archived_forgetting import archived_ids_of, forget_archived
from broker.archived_rows import SCHEMAS, Entry, batch_of, entries_of
from broker.archiving import ArchiveWriter
from broker.errors import DamagedFileError, LeaseTakenError, SettingsError
from broker.groups import ensure_groups
from broker.janitor import keep_house
from broker.leases import FILES_LEASE, held, keep_or_take
from broker.settings import BrokerSettings
from broker.streams import ARCHIVE, PredictionId, Tag
from tests.archive.streams import KINDS, TAG, add, events

HOUR = 497_000 * HOUR_MS  # of September 2026
MARK = mark_of("a log")


@pytest.fixture
def archive(tmp_path) -> ArchiveWriter:
    archive = ArchiveWriter(str(tmp_path / "archive"))
    archive.prepare()
    return archive


class Held:
    """A lease that nobody else wants."""

    def holds(self) -> bool:
        return True


def made(kind: str, first: int, count: int) -> list[Entry]:
    draw = random.Random(first)
    return [
        (f"{HOUR + number}-0", {k.encode(): v.encode() for k, v in events(number, draw)[kind].to_fields().items()})
        for number in range(first, first + count)
    ]


def write(archive: ArchiveWriter, kind: str, entries: list[Entry], mark: str = MARK) -> Part:
    part = Part.of(TAG, kind, mark, [entry_id for entry_id, _ in entries])
    archive.write(part, pa.Table.from_batches([batch_of(TAG, kind, entries)], SCHEMAS[kind]))
    return part


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_needs_no_second_copy_to_be_given_back_to_the_letter(kind):
    entries = made(kind, 0, 20)
    batch = batch_of(TAG, kind, entries)
    assert batch.column("fields").null_count == 20
    assert list(entries_of(kind, batch)) == entries


@pytest.mark.parametrize(
    "fields",
    [
        {b"text": b"by hand"},
        {b"text": b"x", b"deadline_ms": b"9" * 40},
        {b"\xff": b"\x00"},
        {b"schema_version": b"7", b"text": b"x", b"new": b"field"},
        {b"schema_version": b"1", b"erased": b"1"},
        {b"text": b"x", b"threshold": b"0.50", b"tags": b'{"b": "1","a":"2"}'},
        {},
    ],
)
def test_whatever_stands_on_the_log_is_given_back_to_the_letter(fields):
    batch = batch_of(TAG, "requests", [("5-1", fields)])
    assert list(entries_of("requests", batch)) == [("5-1", fields)]


def test_small_files_become_one_and_a_reader_in_the_middle_notices_nothing(archive):
    entries = made("results", 0, 100)
    for start in range(0, 100, 10):
        write(archive, "results", entries[start : start + 10])
    reading = archive.entries(TAG, "results")
    first = [next(reading) for _ in range(25)]
    assert join_hour(archive, TAG, "results", HOUR, Held()) == 10
    assert len(archive.parts(TAG, "results")) == 1
    assert first + list(reading) == entries


def test_files_that_a_kill_left_beside_the_joined_one_are_read_once_and_removed(archive):
    entries = made("results", 0, 30)
    write(archive, "results", entries)
    write(archive, "results", entries[:10])
    write(archive, "results", entries[10:30])
    assert list(archive.entries(TAG, "results")) == entries
    assert join_hour(archive, TAG, "results", HOUR, Held()) == 0
    assert [archive.rows(part) for part in archive.parts(TAG, "results")] == [30]


def test_a_column_of_a_newer_archiver_is_not_joined_away(archive):
    entries = made("results", 0, 20)
    write(archive, "results", entries[:10])
    part = Part.of(TAG, "results", MARK, [entry_id for entry_id, _ in entries[10:]])
    table = pa.Table.from_batches([batch_of(TAG, "results", entries[10:])])
    archive.write(part, table.append_column("new", pa.array(range(10))))
    assert join_hour(archive, TAG, "results", HOUR, Held()) == 0
    assert list(archive.entries(TAG, "results")) == entries


def test_a_file_of_an_older_archiver_lacks_a_column_and_is_read_all_the_same(archive):
    entries = made("results", 0, 20)
    part = Part.of(TAG, "results", MARK, [entry_id for entry_id, _ in entries[:10]])
    archive.write(part, pa.Table.from_batches([batch_of(TAG, "results", entries[:10])]).drop_columns(["embedding"]))
    write(archive, "results", entries[10:])
    assert list(archive.entries(TAG, "results")) == entries
    assert join_hour(archive, TAG, "results", HOUR, Held()) == 2
    assert list(archive.entries(TAG, "results")) == entries


def test_a_range_begins_and_ends_where_it_is_told(archive):
    entries = made("requests", 0, 50)
    write(archive, "requests", entries[:25])
    write(archive, "requests", entries[25:])
    assert list(archive.entries(TAG, "requests", entries[10][0], entries[40][0])) == entries[10:41]
    assert list(archive.entries(TAG, "requests", last=entries[3][0])) == entries[:4]


def test_logs_are_told_apart_even_where_their_entries_have_the_same_ids(archive):
    first, second = made("results", 0, 20), made("results", 5, 20)
    write(archive, "results", first, mark_of("first"))
    write(archive, "results", second, mark_of("second"))
    assert list(archive.entries(TAG, "results", mark=mark_of("second"))) == second
    assert list(archive.entries(TAG, "results")) == first + second


def test_hours_whose_time_is_over_are_deleted(archive):
    write(archive, "results", made("results", 0, 5))
    write(archive, "results", made("results", 3 * HOUR_MS, 5))
    assert archive.drop_before(TAG.model, "results", HOUR + 2 * HOUR_MS) == 1
    assert archive.hours(TAG.model, "results") == [HOUR + 3 * HOUR_MS]


def test_what_is_read_is_cut_at_the_hour_and_its_memory_is_counted():
    memory = Memory(1 << 20)
    pending = Pending(TAG, "results", memory)
    pending.add([*made("results", HOUR_MS - 2, 2), *made("results", HOUR_MS, 3)])
    assert [len(chunk.ids) for chunk in pending.chunks] == [2, 3]
    assert memory.held > 0
    assert (pending.last, pending.oldest_ms) == (f"{HOUR + HOUR_MS + 2}-0", HOUR + HOUR_MS - 2)
    pending.clear()
    assert memory.held == 0


def test_two_models_that_write_at_the_same_moment_write_into_files_of_their_own(archive):
    parts = {name: Part.of(Tag(name), "results", MARK, [f"{HOUR}-0"]) for name in ("one", "two")}
    tables = {
        name: pa.Table.from_batches([batch_of(Tag(name), "results", made("results", number, 1))], SCHEMAS["results"])
        for number, name in enumerate(parts)
    }

    def meanwhile() -> bool:
        archive.write(parts["two"], tables["two"])
        return True

    archive.write(parts["one"], tables["one"], only_if=meanwhile)
    for name, part in parts.items():
        assert pa.Table.from_batches(archive.batches(part)) == tables[name].select(SCHEMAS["results"].names)


async def test_what_is_held_is_what_was_read_and_not_written_however_many_threads_read():
    memory = Memory(most=1 << 30)
    entries = made("results", 0, 3)

    def follow(tag: Tag) -> None:
        pending = Pending(tag, "results", memory)
        for _ in range(100):
            pending.add(entries)
            pending.clear()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        await asyncio.gather(*(asyncio.to_thread(follow, Tag(f"m{number}")) for number in range(3)))
    finally:
        sys.setswitchinterval(interval)
    assert memory.held == 0


def test_an_unfinished_file_of_a_process_that_is_gone_is_removed(archive, tmp_path):
    left = tmp_path / "archive" / ".unfinished" / "0-results-5-0.999999999"
    left.write_bytes(b"half")
    archive.prepare()
    assert not left.exists()


def test_an_archive_in_an_object_store_is_written_and_read():
    store = ArchiveWriter("memory://bucket/observa")
    entries = made("feedback", 0, 40)
    for start in range(0, 40, 20):
        write(store, "feedback", entries[start : start + 20])
    assert list(Archive("memory://bucket/observa").entries(TAG, "feedback")) == entries
    assert join_hour(store, TAG, "feedback", HOUR, Held()) == 2
    assert store.models() == [TAG.model]
    assert store.drop_before(TAG.model, "feedback", HOUR + HOUR_MS) == 1
    assert store.parts(TAG, "feedback") == []


async def test_a_request_whose_id_was_made_up_is_forgotten_with_its_subject(redis, archive):
    odd = {b"id": b"abc", b"text": b"x"}
    sent = [(f"{HOUR}-{place}", odd | {b"subject": who}) for place, who in enumerate([b"alice", b"bob"])]
    write(archive, "requests", sent)
    hers = archived_ids_of(archive, [TAG], "alice")
    assert hers == {str(PredictionId.of_entry(TAG, sent[0][0]))}
    assert (await forget_archived(redis, archive, [TAG], hers)).total() == 1
    assert list(archive.entries(TAG, "requests")) == sent[1:]


@pytest.mark.parametrize("unreadable", [{b"schema_version": b"7"}, {b"deadline_ms": b"soon"}])
async def test_a_request_that_the_archiver_could_not_read_is_forgotten_with_its_subject(redis, archive, unreadable):
    hers, his = str(PredictionId.new(TAG)), str(PredictionId.new(TAG))
    sent = [
        (f"{HOUR}-{place}", {b"id": identity.encode(), b"text": b"x", b"subject": subject} | unreadable)
        for place, (identity, subject) in enumerate([(hers, b"alice"), (his, b"bob")])
    ]
    write(archive, "requests", sent)
    assert archived_ids_of(archive, [TAG], "alice") == {hers}
    assert (await forget_archived(redis, archive, [TAG], {hers})).total() == 1
    assert list(archive.entries(TAG, "requests")) == sent[1:]


def test_a_place_that_nobody_knows_is_a_mistake_of_the_settings():
    with pytest.raises(SettingsError, match="OBSERVA_ARCHIVE=nosuch://x"):
        Archive("nosuch://x")


def test_folders_are_private_whatever_the_umask(archive, tmp_path):
    part = write(archive, "requests", made("requests", 0, 1))
    path = tmp_path / "archive" / part.path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in [*path.parents][:5])


@pytest.fixture
async def position(redis, archive) -> Position:
    await ensure_groups(redis, TAG)
    return Position(redis, archive, TAG, "results")


def chunks(server, position: Position) -> list[Chunk]:
    with SyncRedis(port=server.port) as client:
        pending = Pending(TAG, "results", Memory(1 << 20))
        pending.add([(i.decode(), f) for i, f in client.xrange(position.stream, f"({position.last}")])
    return pending.chunks


async def test_a_file_that_was_published_before_the_kill_is_not_written_again(redis, server, archive, position):
    with SyncRedis(port=server.port) as client:
        add(client, 10)
    born = (await redis.get(TAG.born)).decode()
    async with held(redis, TAG.lease(FILES_LEASE)) as lease:
        await position.find(born, lease)
        for chunk in chunks(server, position):
            position.publish(born, chunk, lease)  # and the process is killed here: Redis knows nothing of it
        again = Position(redis, archive, TAG, "results")
        [chunk] = chunks(server, again)
        with pytest.raises(MovedError):
            again.publish(born, chunk, lease)
        await again.find(born, lease)
        assert not chunks(server, again)
        for _ in range(2):
            [group] = [g for g in await redis.xinfo_groups(TAG.results) if g["name"] == ARCHIVE.encode()]
            assert group["lag"] == 0
            await redis.xgroup_destroy(TAG.results, ARCHIVE)  # as where it was switched off by somebody else
            await again.find(born, lease)
    assert sum(archive.rows(part) for part in archive.parts(TAG, "results")) == 10


async def test_a_damaged_file_holds_up_its_own_stream_and_says_which_it_is(redis, server, archive):
    with SyncRedis(port=server.port) as client:
        add(client, 10)
    follower = Follower(redis, ArchiveSettings(archive=archive.url), TAG, archive, Memory(1 << 20))
    born = await ensure_groups(redis, TAG)
    part = Part.of(TAG, "results", mark_of(born), [(await redis.xrange(TAG.results))[-1][0].decode()])
    whole = made("results", 0, 1)
    archive.write(part, pa.Table.from_batches([batch_of(TAG, "results", whole)], SCHEMAS["results"]))
    path = Path(archive.root) / part.path
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert not await follower._tried(follower._step)
    assert follower.trouble == "storage"
    with pytest.raises(DamagedFileError, match="parquet is damaged"):
        list(archive.batches(part))
    path.write_bytes(content)
    assert await follower._tried(follower._step)


async def test_files_of_another_log_say_nothing_of_where_this_one_was_read_to(redis, server, position):
    with SyncRedis(port=server.port) as client:
        add(client, 10)
    born = (await redis.get(TAG.born)).decode()
    async with held(redis, TAG.lease(FILES_LEASE)) as lease:
        for chunk in chunks(server, position):
            position.publish("another log's mark", chunk, lease)
        await position.find(born, lease)
    assert position.last == START


async def test_who_stood_still_until_its_lease_was_over_publishes_nothing(redis, server, archive, position):
    with SyncRedis(port=server.port) as client:
        add(client, 10)
    born = (await redis.get(TAG.born)).decode()
    async with held(redis, TAG.lease(FILES_LEASE)) as lease:
        await position.find(born, lease)
        late = replace(lease, until_s=0)  # one that nothing prolongs meanwhile
        with pytest.raises(MovedError):
            await position.write(born, chunks(server, position)[0], late)
    assert archive.parts(TAG, "results") == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "set OBSERVA_ARCHIVE to a folder"),
        ({"store_text": "none"}, "OBSERVA_STORE_TEXT=none removes each"),
        ({"archive": "/proc/nowhere"}, "choose a folder that we may write to"),
    ],
)
def test_why_it_does_not_start_is_one_line(settings, said, tmp_path):
    place = {} if not settings else {"archive": str(tmp_path)}
    with pytest.raises(SettingsError, match=said):
        opened(ArchiveSettings(**place | settings))


async def test_one_at_a_time_writes_files(redis):
    async with held(redis, TAG.lease(FILES_LEASE)):
        with pytest.raises(LeaseTakenError):
            async with held(redis, TAG.lease(FILES_LEASE)):
                pass
    async with held(redis, TAG.lease(FILES_LEASE)):
        await asyncio.sleep(0)


async def test_who_was_away_for_longer_than_its_lease_gives_no_other_ones_back(redis):
    key = TAG.lease(FILES_LEASE)
    async with held(redis, key):
        await redis.delete(key)  # it ran out
        assert await keep_or_take(redis, key, "another", 60_000)
    assert await redis.get(key) == b"another"


async def test_the_log_waits_for_an_archive_that_is_on_and_for_none_that_is_off(redis, server):
    with SyncRedis(port=server.port) as client:
        for kind in KINDS:
            for number in range(10):  # years ago
                client.xadd(TAG.key(kind), {"text": "x"}, id=f"{number + 1}-0")
            client.xgroup_create(TAG.key(kind), ARCHIVE, id="0")
    kept = {"redis_url": server.url}
    await keep_house(redis, BrokerSettings(**kept, archive="somewhere"), TAG, "w")
    assert [await redis.xlen(TAG.key(kind)) for kind in KINDS] == [10, 10, 10]
    await keep_house(redis, BrokerSettings(**kept), TAG, "w")
    assert [await redis.xlen(TAG.key(kind)) for kind in KINDS] == [0, 0, 0]
    for kind in KINDS:
        assert ARCHIVE not in {group["name"].decode() for group in await redis.xinfo_groups(TAG.key(kind))}


async def test_past_its_byte_cap_the_log_wins_over_the_archive_and_the_gap_is_counted(redis, server):
    with SyncRedis(port=server.port) as client:
        for kind in KINDS:
            client.xgroup_create(TAG.key(kind), ARCHIVE, id="0", mkstream=True)
        pipeline = client.pipeline()
        for number in range(1100):
            pipeline.xadd(TAG.results, {"filling": "x" * 2000}, id=f"{number + 1}-0")
        pipeline.execute()
    settings = BrokerSettings(redis_url=server.url, archive="somewhere", results_max_mb=1)
    await keep_house(redis, settings, TAG, "w")
    left = await redis.xlen(TAG.results)
    assert 0 < left < 1100
    assert int(await redis.hget(TAG.gaps, "results/archive")) == 1100 - left
