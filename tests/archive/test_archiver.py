"""The archiver as a process: everything on the log comes into files, once, whatever happens to it."""

import random
import signal
import time

import httpx
import pytest

from tests.archive.streams import KINDS, TAG, add, archived, logged, rows_in_files
from tests.servers import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def test_what_the_log_held_is_read_back_to_the_letter(archiving):
    client = archiving.client
    add(client, 200)
    client.xadd(TAG.requests, {"text": "by hand"})
    client.xadd(TAG.requests, {b"\xff": b"\xfe"})
    client.xadd(TAG.results, {"schema_version": "99", "id": "of a newer Observa"})
    archiving.start()
    archiving.wait_written()
    add(client, 100, seed=2)
    archiving.wait_written()
    for kind in KINDS:
        assert archived(archiving.archive, kind) == logged(client, kind)


def test_killed_again_and_again_it_neither_loses_nor_doubles_a_row(archiving):
    draw = random.Random(20261123)
    process = archiving.start(OBSERVA_ARCHIVE_FLUSH_S=0.01)
    for turn in range(3):
        files = len(archiving.archive.parts(TAG, "results"))
        wait_until(
            lambda turn=turn, files=files: (
                add(archiving.client, 5, seed=turn) and len(archiving.archive.parts(TAG, "results")) > files + 2
            ),
            "it writes",
        )
        time.sleep(draw.uniform(0, 0.1))  # until it is in the middle of something else
        process.signal(signal.SIGKILL)
        process.popen.wait(10)
        process.start()
    archiving.wait_written()
    for kind in KINDS:
        written = logged(archiving.client, kind)
        assert len(written) > 200
        assert archived(archiving.archive, kind) == written
        assert rows_in_files(archiving.archive, kind) == len(written)
    assert not list((archiving.folder / ".unfinished").iterdir())


def test_two_archivers_write_each_row_once(archiving):
    for _ in range(2):
        archiving.start(OBSERVA_ARCHIVE_FLUSH_S=0.05)
    for turn in range(10):
        add(archiving.client, 100, seed=turn)
    archiving.wait_written()
    for kind in KINDS:
        assert archived(archiving.archive, kind) == logged(archiving.client, kind)
        assert rows_in_files(archiving.archive, kind) == 1000


def test_after_the_log_was_emptied_it_goes_on_and_what_was_read_before_is_kept(archiving):
    archiving.start(OBSERVA_ARCHIVE_FLUSH_S=600)
    add(archiving.client, 50)
    before = {kind: logged(archiving.client, kind) for kind in KINDS}
    wait_until(lambda: metric(archiving, "observa_archive_held_bytes") > 0, "it has read them")
    archiving.client.flushall()
    add(archiving.client, 30, seed=2)
    wait_until(lambda: metric(archiving, "observa_archive_other_logs_total") == 1, "it has noticed")
    archiving.client.set(TAG.flush, 1)
    archiving.wait_written()
    for kind in KINDS:
        assert archived(archiving.archive, kind) == before[kind] + logged(archiving.client, kind)


def test_where_nothing_can_be_written_it_waits_and_counts_what_gets_lost_meanwhile_and_goes_on(archiving, tmp_path):
    process = archiving.start()
    wait_until(lambda: archiving.lag("requests") == 0, "it has begun")
    aside = full(archiving, tmp_path)
    add(archiving.client, 20)
    wait_until(lambda: metric(archiving, 'observa_archive_blocked{model="sentiment"}') == 1, "it cannot write")
    assert not process.healthy("/healthz")
    add(archiving.client, 7, seed=2)
    unread = 'observa_archive_behind_entries{kind="results",model="sentiment"}'
    wait_until(lambda: metric(archiving, unread) == 7, "it has looked")
    archiving.client.flushall()
    aside.unlink()
    wait_until(lambda: metric(archiving, "observa_archive_other_logs_total") == 1, "it has noticed")
    wait_until(lambda: len(archiving.client.hgetall(TAG.gaps)) == 3, "it has counted")
    assert set(archiving.client.hgetall(TAG.gaps).values()) == {b"7"}
    assert rows_in_files(archiving.archive, "results") == 20
    add(archiving.client, 5, seed=3)
    archiving.wait_written()
    assert rows_in_files(archiving.archive, "results") == 25
    wait_until(lambda: process.healthy("/healthz"), "it is well again")


def full(archiving, elsewhere):
    """Make every write fail, as on a full disk; returns what to remove for an end of it."""
    aside = archiving.folder / ".unfinished"
    aside.rename(elsewhere / "unfinished")
    aside.write_text("no folder")
    return aside


def metric(archiving, name: str) -> float:
    text = httpx.get(f"{archiving.services.processes[-1].url}/metrics").text
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)), 0.0)
