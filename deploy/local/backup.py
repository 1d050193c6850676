"""A backup of the embedded server's log, and putting it back: one file, made while everything runs."""

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from broker.durable import sync_folder, write
from broker.errors import ObservaError
from broker.manifest import models_in
from deploy.local import locks, probes, server, supervisor
from deploy.local.settings import StackSettings

BACKUPS = Path("backups")  # unless a file is named
_FORMAT = 1
_PATIENCE_S = 600
_MANIFEST = "backup.json"
_LOG = "dump.rdb"
_AOF = "appendonlydir"


def backup(settings: StackSettings, target: Path | None) -> Path:
    """Write everything in the log, and which model versions are live, to *target*; return its path.

    The server forks: what is saved is the state of one moment, answers, pending entries and all.

    Raises:
        ObservaError: the server does not run here, cannot save, or the file exists already.

    """
    _need_embedded(settings)
    path = (target or BACKUPS / time.strftime("observa-%Y%m%d-%H%M%S.tar", time.gmtime())).resolve()
    if path.exists():
        raise ObservaError(f"{path} exists already; name another file")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = server.find_engine(settings)
    with locks.one_at_a_time(settings.run_dir), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        dump = Path(folder) / _LOG
        _save(settings, dump)
        pointers = {name: (settings.models / name / "live.json").read_text() for name in models_in(settings.models)}
        manifest = {
            "format": _FORMAT,
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "engine": engine.name,
            "version": engine.version,
            "sha256": _digest(dump),
            "live": pointers,
        }
        new = Path(folder) / "backup.tar"
        new.touch(mode=0o600)
        with tarfile.open(new, "w") as tar:
            content = json.dumps(manifest, indent=1).encode()
            entry = tarfile.TarInfo(_MANIFEST)
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            tar.addfile(entry, io.BytesIO(content))
            tar.add(dump, _LOG)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(path)
        sync_folder(path.parent)
    return path


def restore(settings: StackSettings, source: Path) -> dict[str, Any]:
    """Put the log of *source* into the data folder, which must hold none; return the backup's manifest.

    Raises:
        ObservaError: the stack runs, there is a log already, or the file is damaged or of another engine.

    """
    _need_embedded(settings)
    with locks.one_at_a_time(settings.run_dir):
        if supervisor.pid(settings) or probes.running(settings):
            raise ObservaError("Observa is running; `just down` first")
        if settings.redis_dir.exists() and any(settings.redis_dir.iterdir()):
            raise ObservaError(
                f"{settings.redis_dir} holds a log already, and is not overwritten; set OBSERVA_DATA_DIR to an empty "
                "folder, or remove it with `just clean`"
            )
        settings.data_dir.resolve().mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=settings.data_dir.resolve()) as aside:
            folder = Path(aside) / "redis"
            folder.mkdir(mode=0o700)
            manifest = _unpack(source, folder)
            stamp = {"engine": manifest["engine"], "version": manifest["version"]}
            _check_engine(settings, stamp, source)
            write(folder / "engine.json", f"{json.dumps(stamp)}\n".encode())
            _as_append_only(folder)
            folder.rename(settings.redis_dir)  # over an empty folder, too
            sync_folder(settings.redis_dir.parent)
    return manifest


def changed_pointers(settings: StackSettings, manifest: dict[str, Any]) -> list[str]:
    """Return the models whose live version is not the one at the time of the backup."""
    found = []
    for name, text in manifest["live"].items():
        path = settings.models / name / "live.json"
        if not path.exists() or path.read_text() != text:
            found.append(name)
    return found


def _need_embedded(settings: StackSettings) -> None:
    if not settings.embedded:
        raise ObservaError("the log is on your own server (OBSERVA_REDIS_URL); back it up with that server's means")


def _save(settings: StackSettings, dump: Path) -> None:
    """Let the server write a snapshot beside its append-only file, and take it away.

    Raises:
        ObservaError: it is not there, or refuses.

    """
    client = Redis.from_url(settings.url_with_password, socket_timeout=_PATIENCE_S)
    with client:
        try:
            before = _persistence(client)["rdb_last_save_time"]
            while int(client.time()[0]) <= before:  # Redis tells whole seconds
                time.sleep(0.05)
            client.bgsave(schedule=True)
            until = time.monotonic() + _PATIENCE_S
            while (state := _persistence(client))["rdb_last_save_time"] == before:
                if not state["rdb_bgsave_in_progress"] and state["rdb_last_bgsave_status"] != "ok":
                    raise ObservaError("the server could not save its data; `just logs redis` says why")
                if time.monotonic() > until:
                    raise ObservaError(f"the server did not save its data within {_PATIENCE_S} s; `just doctor`")
                time.sleep(0.05)
        except RedisError as error:
            raise ObservaError(f"the server cannot be asked ({error}); run: just up") from None
    written = settings.redis_dir / _LOG
    shutil.copyfile(written, dump)
    written.unlink()  # the append-only file is what the server lives on


def _persistence(client: Redis) -> dict[str, Any]:
    state: Any = client.info("persistence")
    return dict(state)


def _unpack(source: Path, folder: Path) -> dict[str, Any]:
    try:
        with tarfile.open(source) as tar:
            for name in (_MANIFEST, _LOG):
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(tar.extractfile(name) or io.BytesIO(), file)
                    file.flush()
                    os.fsync(file.fileno())
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text())
        if manifest["format"] != _FORMAT:
            raise ObservaError(f"{source} was made by a newer Observa; update this one")
        right = manifest["sha256"] == _digest(folder / _LOG) and {"engine", "version", "live"} <= manifest.keys()
    except OSError as error:
        raise ObservaError(f"{source} cannot be read ({error.strerror or error}); check its name") from None
    except (tarfile.TarError, KeyError, TypeError, ValueError):
        right = False
    if not right:
        raise ObservaError(f"{source} is damaged or no backup of Observa; take another one")
    (folder / _MANIFEST).unlink()
    return manifest


def _check_engine(settings: StackSettings, stamp: dict[str, str], source: Path) -> None:
    engine = server.find_engine(settings)
    release = tuple(map(int, stamp["version"].split(".")))
    if stamp["engine"] != engine.name or release > engine.release:
        raise ObservaError(
            f"{source} was written by {stamp['engine']} {stamp['version']} and this is {engine.name} {engine.version}: "
            f"run that server (OBSERVA_REDIS_SERVER=/path/to/{stamp['engine']}-server)"
        )


def _as_append_only(folder: Path) -> None:
    """Make the snapshot the base of an append-only file, which is where the server looks for its data."""
    (folder / _AOF).mkdir(mode=0o700)
    (folder / _LOG).replace(folder / _AOF / "appendonly.aof.1.base.rdb")
    write(folder / _AOF / "appendonly.aof.manifest", b"file appendonly.aof.1.base.rdb seq 1 type b\n")
    sync_folder(folder)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
