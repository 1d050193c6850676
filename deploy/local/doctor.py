"""What is wrong with this machine's stack, and the next command."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from broker.errors import ObservaError
from deploy.local import environment, launch, probes, server, supervisor
from deploy.local.doctor_keys import examine_models
from deploy.local.doctor_log import examine_log
from deploy.local.doctor_monitor import examine_monitor
from deploy.local.findings import Finding, Level
from deploy.local.settings import ROOT, StackSettings

_DISK_BAD_GB, _DISK_WARN_GB = 1, 5
_OTHERS = 0o077


def doctor(settings: StackSettings) -> int:
    """Print every finding; 1 when something is bad."""
    worst = 0
    for finding in _findings(settings):
        print(finding, flush=True)
        worst = max(worst, finding.level == "bad")
    return int(worst)


def _findings(settings: StackSettings) -> Iterator[Finding]:
    yield _python()
    yield _virtual_environment()
    yield _disk(settings)
    yield from examine_models(settings)
    if settings.embedded:
        yield from _data_folder(settings)
    processes = probes.running(settings)
    supervised = supervisor.pid(settings) is not None
    if supervised:
        yield from _processes(settings, processes)
    elif processes:
        left = ", ".join(p.name for p in processes)
        yield Finding("bad", f"supervisor: has died and left {left} running", "just up")
    else:
        yield from _ports(settings)
        yield Finding("warn", "stack: not running", "just up")
    if supervised or processes or not settings.embedded:
        yield from asyncio.run(examine_log(settings))
        yield from examine_monitor(settings)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("ok", f"python: {version}")


def _virtual_environment() -> Finding:
    requirements, folder = ROOT / "requirements" / "local.txt", ROOT / ".venv"
    if environment.is_current(folder, environment.wanted_stamp(requirements)):
        return Finding("ok", "environment: .venv is what requirements/local.txt pins")
    return Finding("warn", "environment: .venv is missing or older than requirements/local.txt", "just up")


def _disk(settings: StackSettings) -> Finding:
    folder = next(p for p in (settings.data_dir.resolve(), *settings.data_dir.resolve().parents) if p.exists())
    free = shutil.disk_usage(folder).free / 1e9
    what = f"disk: {free:.1f} GB free in {folder}"
    if free < _DISK_BAD_GB:
        return Finding(
            "bad", f"{what}; the server refuses writes once it is full", "free some space, or set OBSERVA_DATA_DIR"
        )
    return Finding("warn" if free < _DISK_WARN_GB else "ok", what)


def _data_folder(settings: StackSettings) -> Iterator[Finding]:
    try:
        engine = server.find_engine(settings)
        server.check_folder(settings, engine)
    except ObservaError as error:
        yield Finding("bad", f"data: {error}")
        return
    if not settings.redis_dir.exists():
        yield Finding("ok", f"data: none yet; {engine.name} {engine.version} will make {settings.redis_dir}")
        return
    for path in (settings.redis_dir, settings.embedded_password_file):
        if path.exists() and (wrong := _permissions(path)):
            yield wrong
            return
    yield Finding("ok", f"data: {settings.redis_dir} is of {engine.name} {engine.version} or older, and private")


def _permissions(path: Path) -> Finding | None:
    found = path.stat()
    if found.st_uid != os.getuid():
        return Finding(
            "bad", f"data: {path} belongs to user {found.st_uid}", f"sudo chown -R {os.getuid()} {path.parent}"
        )
    if found.st_mode & _OTHERS:
        return Finding("bad", f"data: others may read {path}", f"chmod go= {path}")
    return None


def _processes(settings: StackSettings, processes: list[probes.Running]) -> Iterator[Finding]:
    for process in processes:
        again = len(launch.starts(settings, process.name)) - 1
        often = f", started again {again} times of late" if again > 0 else ""
        reason = probes.why_not_ready(settings, process.name)
        if reason is not None:
            yield Finding("bad", f"{process.name}: {reason}{often}", f"just logs {process.service}")
        else:
            level: Level = "warn" if often else "ok"
            yield Finding(level, f"{process.name}: ready{often}", f"just logs {process.service}" if often else "")
    for service in sorted(set(settings.services) - {p.service for p in processes}):
        yield Finding("bad", f"{service}: not running", f"just logs {service}")


def _ports(settings: StackSettings) -> Iterator[Finding]:
    for service in [service for service in settings.services if service != "worker"]:
        port = int(getattr(settings, f"{service}_port"))
        if launch.port_is_free(settings.host_of(service), port):
            yield Finding("ok", f"port {port}: free for {service}")
        else:
            yield Finding("bad", f"port {port}: taken by another program", f"set OBSERVA_{service.upper()}_PORT")
