"""Remove the log's data, after asking."""

import shlex
import shutil
import sys
from pathlib import Path

from broker.errors import ObservaError
from deploy.local import alerting, locks, probes, supervisor
from deploy.local.backup import BACKUPS
from deploy.local.settings import StackSettings


def clean(settings: StackSettings, *, yes: bool) -> None:
    """Remove the embedded server's data and password, and the run-time folder.

    Raises:
        ObservaError: the stack runs, or nobody confirmed.

    """
    data = settings.data_dir.resolve()
    doomed = [
        settings.redis_dir,
        settings.embedded_password_file,
        data / "redis.conf",
        *(data / service for service in alerting.SERVICES),
        settings.logs,
        settings.processes,
    ]
    with locks.one_at_a_time(settings.run_dir):
        if supervisor.pid(settings) or probes.running(settings) or locks.holder(data / "redis.lock"):
            raise ObservaError("Observa is running; `just down` first")
        there = [path for path in doomed if path.exists()]
        if not there:
            print("Nothing to remove.")
            _say_what_stays(settings)
            return
        print("This removes every request, prediction and label in the log, and what Prometheus measured:")
        for path in there:
            print(f"  {path}")
        if not yes and not _confirmed():
            raise ObservaError("nothing was removed; confirm with `yes`, or run `just clean --yes`")
        for path in there:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        print("Removed.")
        _say_what_stays(settings)


def _say_what_stays(settings: StackSettings) -> None:
    """Name what holds texts of requests and is not the log's, with the command that removes it."""
    archive = settings.archive or ".archive"
    folders = [Path(archive), BACKUPS] if "://" not in archive else [BACKUPS]
    for path in [path.resolve() for path in folders if path.is_dir() and any(path.iterdir())]:
        print(f"Texts of requests remain in {path}; remove them, too: rm -r {shlex.quote(str(path))}")
    if "://" in archive:
        print(f"Texts of requests remain in {archive}; remove them there.")


def _confirmed() -> bool:
    return sys.stdin.isatty() and input("Type yes to go on: ").strip() == "yes"
