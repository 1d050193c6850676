"""``just forget`` erases a subject from the archive, while the archiver runs."""

import pytest

from cli.__main__ import main
from tests.archive.streams import KINDS, TAG, add, archived, rows_in_files
from tests.servers import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture
def settings_of(archiving, monkeypatch):
    monkeypatch.setenv("OBSERVA_REDIS_URL", archiving.server.url)
    monkeypatch.setenv("OBSERVA_ARCHIVE", str(archiving.folder))
    return archiving


def test_nothing_of_a_subject_is_left_in_any_file_and_all_of_the_others_is(settings_of, capsys):
    archiving = settings_of
    archiving.start(OBSERVA_ARCHIVE_FLUSH_S=600)  # only who asks for it has it write
    add(archiving.client, 20, subject="bob")
    hers = add(archiving.client, 5, seed=2, subject="alice")
    archiving.client.xadd(TAG.requests, {"text": "by hand", "subject": "alice"})
    archiving.client.set(TAG.flush, 1)
    archiving.wait_written()
    archiving.client.delete(TAG.flush)
    add(archiving.client, 5, seed=3, subject="bob")
    hers += add(archiving.client, 1, seed=4, subject="alice")  # read by the archiver, and in no file
    archiving.client.xgroup_destroy(TAG.requests, "workers")  # nobody answers here
    assert main(["forget", "alice"]) == 0
    assert "7 erased from the archive's requests" in capsys.readouterr().out
    held = b"".join(path.read_bytes() for path in archiving.folder.rglob("*.parquet"))
    assert not any(identity.encode() in held for identity in hers)
    for kind in KINDS:
        ids = {fields.get(b"id", b"").decode() for _, fields in archived(archiving.archive, kind)}
        assert not ids & set(hers)
        assert len(ids - {""}) == 25  # an empty one: the mark that stands where the last entry was erased
    subjects = {fields.get(b"subject") for _, fields in archived(archiving.archive, "requests")}
    assert subjects <= {b"bob", None}
    add(archiving.client, 5, seed=5)
    archiving.client.set(TAG.flush, 1)
    wait_until(lambda: rows_in_files(archiving.archive, "results") >= 30, "the archiver goes on")


def test_a_subject_that_only_the_archive_remembers_is_found_there(settings_of, capsys):
    archiving = settings_of
    process = archiving.start()
    add(archiving.client, 3, subject="alice")
    archiving.wait_written()
    process.terminate()
    for kind in KINDS:
        archiving.client.delete(TAG.key(kind))
    assert main(["forget", "alice"]) == 0
    assert "3 erased from the archive's requests" in capsys.readouterr().out
    assert rows_in_files(archiving.archive, "requests") == 0


def test_an_archive_that_is_behind_is_told(settings_of, capsys):
    archiving = settings_of
    process = archiving.start()
    add(archiving.client, 3, subject="alice")
    archiving.wait_written()
    process.kill()
    add(archiving.client, 3, seed=2, subject="alice")
    assert main(["forget", "alice", "--wait", "1", "--now"]) == 1
    assert "in observa:{sentiment}:requests are still being read" in capsys.readouterr().err
