"""Change the number of workers while they run, in the local stack or in compose."""

import shutil
import subprocess
import time
from typing import Final

from broker.errors import ObservaError
from deploy.local import alerting, locks, probes, supervisor
from deploy.local.settings import MOST_WORKERS, ROOT, StackSettings

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
            _scale_stack(settings, count)
        elif _compose_workers():
            scale_up = [
                "docker",
                "compose",
                "up",
                "-d",
                "--scale",
                f"worker={count}",
                "--no-recreate",
                "--wait",
                "worker",
            ]
            if subprocess.run(scale_up, cwd=ROOT, check=False).returncode:  # noqa: S603
                raise ObservaError("docker compose could not scale the workers; its message is above")
        else:
            raise ObservaError(NOTHING_RUNS)
    print(f"{count} workers are ready.")


def _scale_stack(settings: StackSettings, count: int) -> None:
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
    docker = shutil.which("docker")
    if docker is None or not (ROOT / "compose.yaml").exists():
        return 0
    asked = subprocess.run(  # noqa: S603
        [docker, "compose", "ps", "--status", "running", "--quiet", "worker"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return len(asked.stdout.split()) if asked.returncode == 0 else 0
