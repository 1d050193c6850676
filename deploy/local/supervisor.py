"""The supervisor: a circus arbiter that keeps the services running, and how to command it."""

import hashlib
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from circus import get_arbiter
from circus.client import CircusClient
from circus.exc import CallError

from broker.errors import ObservaError
from broker.settings import load_settings
from deploy.local import alerting, extras, locks
from deploy.local.logs import RotatingLog
from deploy.local.settings import ROOT, StackSettings

GRACE_S = 20  # between SIGTERM and SIGKILL
_LONGEST_SOCKET_PATH = 90  # of 104 on macOS and 108 on Linux
_INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX",
)
OWN_PREFIXES = ("OBSERVA_", "OTEL_")
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}  # workers are the parallelism


def endpoint(settings: StackSettings, name: str = "supervisor") -> str:
    """Return the supervisor's address: a Unix socket that only we may open, since who commands it runs programs as us.

    Raises:
        ObservaError: somebody else made the folder that we would use.

    """
    folder = settings.run_dir.resolve()
    if len(str(folder)) > _LONGEST_SOCKET_PATH - 20:
        mark = hashlib.blake2b(str(folder).encode(), digest_size=6).hexdigest()
        folder = Path(tempfile.gettempdir()) / f"observa-{os.getuid()}-{mark}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise ObservaError(f"{folder} belongs to somebody else; set OBSERVA_RUN_DIR to a folder of your own")
    return f"ipc://{folder}/{name}.socket"


def pid(settings: StackSettings) -> int | None:
    """Return the running supervisor's process id."""
    return locks.holder(settings.processes / "supervisor")


def environment(settings: StackSettings) -> dict[str, str]:
    """Return the whole environment of the services."""
    kept = {k: v for k, v in dict(os.environ).items() if k in _INHERITED or k.startswith(OWN_PREFIXES)}
    kept |= _ONE_THREAD | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    kept |= {"OBSERVA_DATA_DIR": str(settings.data_dir.resolve()), "OBSERVA_RUN_DIR": str(settings.run_dir.resolve())}
    return kept


def _watcher(settings: StackSettings, service: str) -> dict[str, Any]:
    return {
        "name": service,
        "cmd": shlex.quote(sys.executable),
        "args": ["-m", "deploy.local.launch", service],
        "working_dir": str(ROOT),
        "env": environment(settings),
        "numprocesses": settings.count_of(service),
        "stderr_stream": {"stream": RotatingLog(settings.logs / f"{service}.log")},
        "stop_signal": signal.SIGTERM,
        "graceful_timeout": GRACE_S,
        "max_retry": -1,  # of a fork that fails: never give up
        "autostart": False,
    }


def launch(settings: StackSettings) -> None:
    """Start the supervisor apart from this terminal, with nothing running under it yet.

    Raises:
        ObservaError: it ended at once, or does not answer.

    """
    settings.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (settings.logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local.supervisor"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + settings.start_timeout_s
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ObservaError(f"the supervisor ended at once; see {settings.logs / 'supervisor.log'}")
        try:
            tell(settings, "list", timeout_s=1)
        except ObservaError:
            time.sleep(0.05)
        else:
            return
    process.terminate()
    raise ObservaError(f"the supervisor does not answer; see {settings.logs / 'supervisor.log'}")


def tell(settings: StackSettings, command: str, *, timeout_s: float = 5, **properties: Any) -> dict[str, Any]:
    """Send one command and return the reply; waits while the supervisor is busy with another command.

    Raises:
        ObservaError: it does not answer, or refuses.

    """
    client = CircusClient(endpoint=endpoint(settings), timeout=timeout_s)
    until = time.monotonic() + timeout_s
    try:
        while True:
            reply: dict[str, Any] = client.send_message(command, **properties)
            if reply.get("status") != "error":
                return reply
            if "already" not in str(reply.get("reason")) or time.monotonic() > until:  # circus' ConflictError
                raise ObservaError(f"the supervisor refused {command}: {reply.get('reason')}")
            time.sleep(0.1)
    except CallError as error:
        raise ObservaError(f"the supervisor does not answer ({error})") from None
    finally:
        client.stop()


def main() -> None:
    """Be the supervisor."""
    settings = load_settings(StackSettings)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    if locks.hold(settings.processes / "supervisor", wait_s=1) is None:
        sys.exit("observa supervisor: another one runs already")
    arbiter = get_arbiter(
        [_watcher(settings, service) for service in (*settings.services, *extras.SERVICES, *alerting.SERVICES)],
        controller=endpoint(settings),
        pubsub_endpoint=endpoint(settings, "events"),
        multicast_endpoint="",  # None means UDP 0.0.0.0:12027, on which circus waits to be discovered
        umask=0o077,
    )
    arbiter.start()


if __name__ == "__main__":
    main()
