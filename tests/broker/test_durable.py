"""What is written outlasts a loss of power: contents first, then the name, then the folder that holds the name."""

import os
from pathlib import Path

import pytest

from broker import durable
from broker.manifest import Pointer
from broker.store import Store
from tests.worker.builders import write_model


@pytest.fixture
def synced(monkeypatch) -> list[tuple[str, tuple[str, ...]]]:
    """Each file or folder that was made durable, in order, with what the folder held at that moment."""
    found: list[tuple[str, tuple[str, ...]]] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        found.append((path.name, tuple(sorted(p.name for p in path.iterdir())) if path.is_dir() else ()))

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_a_file_is_durable_before_it_has_its_name_and_its_name_afterwards(tmp_path, synced):
    durable.write(tmp_path / "file", b"content", 0o600)
    (aside, _), folder = synced
    assert aside.startswith(".file.")
    assert folder == (tmp_path.name, ("file",))
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_folder_is_durable_whole_before_it_has_its_name(tmp_path, synced):
    durable.write_folder(tmp_path / "folder", {"a": b"1", "b": b"2"})
    assert synced[-2][0].startswith(".folder.")
    assert synced[-2][1] == ("a", "b")
    assert synced[-1] == (tmp_path.name, ("folder",))


def test_a_promotion_outlasts_a_loss_of_power(tmp_path, synced):
    (tmp_path / "toy").mkdir()
    Store(str(tmp_path)).replace_pointer("toy", None, Pointer(version="1", generation=1))
    assert synced[-1] == ("toy", ("live.json",))


def test_a_version_that_is_added_outlasts_a_loss_of_power(tmp_path, synced):
    Store(str(tmp_path / "store")).add(write_model(tmp_path / "made", {"words.txt": b"good\n"}, version="2"))
    assert synced[-1] == ("toy", ("2",))


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.write(tmp_path / "file", b"after")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"before")]
