import json
import os
import subprocess
import sys

import pytest

from broker.errors import ObservaError, SettingsError
from deploy.local import locks
from deploy.local.server import Engine, check_folder, find_engine, prepare
from deploy.local.settings import StackSettings


@pytest.fixture
def settings(tmp_path):
    return StackSettings(data_dir=tmp_path / "data", run_dir=tmp_path / "run")


def engine(program, name="valkey", version="9.1.2"):
    return Engine(program, name, version)


def stamp(settings, name, version):
    settings.redis_dir.mkdir(parents=True)
    (settings.redis_dir / "engine.json").write_text(json.dumps({"engine": name, "version": version}))


def test_the_wheel_is_the_first_choice(settings):
    found = find_engine(settings)
    assert found.name == "valkey"
    assert found.release >= (9, 1)


def test_a_named_server_wins(settings, tmp_path):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc bits=64'\n")
    program.chmod(0o755)
    named = settings.model_copy(update={"redis_server": program})
    assert find_engine(named) == Engine(program, "redis", "7.0.15")


def test_a_program_that_is_no_server_is_refused(settings, tmp_path):
    named = settings.model_copy(update={"redis_server": tmp_path / "missing"})
    with pytest.raises(ObservaError, match="OBSERVA_REDIS_SERVER"):
        find_engine(named)


@pytest.mark.parametrize(("name", "version"), [("redis", "7.0.15"), ("valkey", "10.0")])
def test_another_engines_folder_is_refused_with_the_way_out(settings, tmp_path, name, version):
    stamp(settings, name, version)
    with pytest.raises(ObservaError, match=rf"written by {name} {version}.*{name}-server.*just clean"):
        check_folder(settings, engine(tmp_path))


def test_an_older_version_of_the_same_engine_is_read_on(settings, tmp_path):
    stamp(settings, "valkey", "8.1.8")
    check_folder(settings, engine(tmp_path))


def test_data_without_a_stamp_is_refused(settings, tmp_path):
    (settings.redis_dir / "appendonlydir").mkdir(parents=True)
    with pytest.raises(ObservaError, match="unknown server"):
        check_folder(settings, engine(tmp_path))


def test_two_servers_never_share_a_folder(settings, tmp_path):
    settings.data_dir.mkdir()
    hold = """
import sys
from pathlib import Path
from deploy.local import locks
locks.hold(Path(sys.argv[1]))
print("held", flush=True)
input()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(settings.data_dir / "redis.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert other.stdout.readline()
    try:
        with pytest.raises(ObservaError, match=f"in use by process {other.pid}"):
            prepare(settings, engine(tmp_path))
    finally:
        other.communicate(b"\n")
    _, descriptor = prepare(settings, engine(tmp_path))
    os.close(descriptor)


def test_the_password_survives_and_the_configuration_is_private(settings, tmp_path):
    config, descriptor = prepare(settings, engine(tmp_path))
    os.close(descriptor)
    password = settings.embedded_password_file.read_text().strip()
    assert len(bytes.fromhex(password)) == 32
    assert f"requirepass {password}" in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o600
    _, descriptor = prepare(settings, engine(tmp_path))
    os.close(descriptor)
    assert settings.embedded_password_file.read_text().strip() == password


def test_a_data_folder_that_the_configuration_cannot_name_is_refused(tmp_path):
    settings = StackSettings(data_dir=tmp_path / 'a"b')
    with pytest.raises(SettingsError, match="OBSERVA_DATA_DIR"):
        prepare(settings, engine(tmp_path))


def test_a_lock_tells_its_holder_and_ends_with_it(tmp_path):
    descriptor = locks.hold(tmp_path / "lock")
    assert descriptor is not None
    assert locks.holder(tmp_path / "lock") == os.getpid()
    assert locks.hold(tmp_path / "lock") is None
    os.close(descriptor)
    assert locks.holder(tmp_path / "lock") is None
