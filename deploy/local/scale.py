"""Change the number of workers while they run, in the local stack or in compose."""

import shutil
import subprocess
import time
from typing import Any, Final

from broker.errors import ObservaError
from deploy.local import alerting, locks, probes, supervisor
from deploy.local.settings import MOST_WORKERS, ROOT, StackSettings

COMPOSE_ASK_S: Final = 20.0
COMPOSE_CHANGE_S: Final = 300.0  # until new workers are healthy
NOTHING_RUNS: Final = "nothing runs here: `just up` first, or `docker compose up -d`"


def count(settings: StackSettings) -> int:
    """Return how many workers there shall be now, whether or not each of them is ready.

    Raises:
        ObservaError: nothing runs here.

    """
    if supervisor.pid(settings) is not None:
        return int(supervisor.tell(settings, "numprocesses", name="worker")["numprocesses"])
    if workers := _compose_workers():
        return workers
    raise ObservaError(NOTHING_RUNS)


def scale(settings: StackSettings, count: int) -> None:
    """Run *count* workers; returns when they work and the others have finished what they had begun.

    Raises:
        ObservaError: nothing runs here, or the workers do not become ready.

    """
    if not 1 <= count <= MOST_WORKERS:
        raise ObservaError(f"the number of workers must be 1 to {MOST_WORKERS}, not {count}")
    with locks.one_at_a_time(settings.run_dir):
        if supervisor.pid(settings) is not None:
            scale_stack(settings, count)
        elif _compose_workers():
            scale_up = ["up", "-d", "--scale", f"worker={count}", "--no-recreate", "--wait", "worker"]
            if _compose(*scale_up, limit_s=COMPOSE_CHANGE_S).returncode:
                raise ObservaError("docker compose could not scale the workers; its message is above")
        else:
            raise ObservaError(NOTHING_RUNS)
    print(f"{count} workers are ready.")


def scale_stack(settings: StackSettings, count: int) -> None:
    """Let *count* workers of the local stack run, and wait until they work.

    Raises:
        ObservaError: they do not become ready.

    """
    patience_s = supervisor.GRACE_S + settings.start_timeout_s
    supervisor.tell(settings, "set", name="worker", options={"numprocesses": count}, timeout_s=patience_s)
    until = time.monotonic() + patience_s
    while True:
        workers = [p for p in probes.running(settings) if p.service == "worker"]
        waiting = [p.name for p in workers if probes.why_not_ready(settings, p.name) is not None]
        if len(workers) == count and not waiting:
            alerting.write_targets(settings)
            return
        if time.monotonic() > until:
            raise ObservaError(
                f"{len(workers)} workers run, not ready: {', '.join(waiting) or 'none'}; see `just logs worker`"
            )
        time.sleep(0.1)


def _compose_workers() -> int:
    """Return how many workers of this folder's compose project run."""
    if shutil.which("docker") is None or not (ROOT / "compose.yaml").exists():
        return 0
    asked = _compose("ps", "--status", "running", "--quiet", "worker", limit_s=COMPOSE_ASK_S, capture_output=True)
    return len(asked.stdout.split()) if asked.returncode == 0 else 0


def _compose(*words: str, limit_s: float, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run one command of docker compose on this folder's project.

    Raises:
        ObservaError: it does not come to an end.

    """
    try:
        return subprocess.run(["docker", "compose", *words], cwd=ROOT, check=False, timeout=limit_s, **options)  # noqa: S603, S607
    except subprocess.TimeoutExpired:
        raise ObservaError(
            f"docker compose {words[0]} did not end within {limit_s:g} s; look at: docker compose ps"
        ) from None
