"""Restored logs and rules are there whole or as before, and a command of docker's that hangs is left."""

import hashlib
import io
import json
import tarfile

import pytest

from broker.errors import ObservaError
from deploy.local import alerting, backup, scale, server
from deploy.local.settings import StackSettings


@pytest.fixture
def settings(tmp_path) -> StackSettings:
    return StackSettings(data_dir=tmp_path / "data", run_dir=tmp_path / "run")


@pytest.fixture
def saved(settings, tmp_path):
    """A backup as `just backup` writes it, of a log that nobody will read."""
    engine, dump = server.find_engine(settings), b"a dump"
    manifest = {
        "format": 1,
        "engine": engine.name,
        "version": engine.version,
        "sha256": hashlib.sha256(dump).hexdigest(),
        "live": {},
    }
    path = tmp_path / "log.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (("backup.json", json.dumps(manifest).encode()), ("dump.rdb", dump)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("step", [1, 2])
def test_a_restore_that_ends_midway_leaves_no_log_and_can_be_repeated(settings, saved, monkeypatch, step):
    whole, steps = backup.write, []

    def fails(path, content):
        steps.append(path)
        if len(steps) == step:
            raise OSError(28, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(backup, "write", fails)
    settings.redis_dir.mkdir(parents=True)
    with pytest.raises(OSError, match="No space"):
        backup.restore(settings, saved)
    assert [path.name for path in settings.data_dir.iterdir()] == ["redis"]
    assert not list(settings.redis_dir.iterdir())
    monkeypatch.undo()
    backup.restore(settings, saved)
    files = {path.relative_to(settings.redis_dir).as_posix() for path in settings.redis_dir.rglob("*")}
    assert files == {
        "engine.json",
        "appendonlydir",
        "appendonlydir/appendonly.aof.1.base.rdb",
        "appendonlydir/appendonly.aof.manifest",
    }
    assert settings.redis_dir.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in settings.data_dir.iterdir()] == ["redis"]


def test_no_rule_is_missing_while_the_rules_are_written_anew(settings, tmp_path):
    folder = tmp_path / "rules"
    folder.mkdir()
    shipped = sorted(path.name for path in (alerting._CONFIGURATION / "prometheus" / "rules").glob("*.yml"))
    for name in (*shipped, "of-an-older-version.yml"):
        (folder / name).write_text("before")

    def write_one(path, text):
        assert {path.name for path in folder.glob("*.yml")} == {*shipped, "of-an-older-version.yml"}
        path.write_text(text)

    alerting.write_rules(settings, folder, write_one)
    assert sorted(path.name for path in folder.iterdir()) == shipped
    assert not [path for path in folder.iterdir() if path.read_text() == "before"]


def test_a_docker_that_hangs_is_left_and_named(tmp_path, monkeypatch):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexec sleep 60\n")
    docker.chmod(0o755)
    (tmp_path / "compose.yaml").touch()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(scale, "ROOT", tmp_path)
    monkeypatch.setattr(scale, "COMPOSE_ASK_S", 0.2)
    with pytest.raises(ObservaError, match=r"docker compose ps did not end within 0.2 s"):
        scale._compose_workers()
