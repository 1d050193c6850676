"""A lock file held for a process's life: it says who runs, and goes away however the process ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def hold(path: Path, *, wait_s: float = 0.1) -> int | None:
    """Lock *path* and write our process id into it; return the descriptor, or None when another process holds it.

    The wait covers a moment in which somebody merely looks (`holder`), or a predecessor's last breath.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(descriptor)
                return None
            time.sleep(0.01)
        else:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            return descriptor


def keep(descriptor: int) -> None:
    """Let the lock outlive exec: the program we become holds it."""
    os.set_inheritable(descriptor, True)  # noqa: FBT003


def holder(path: Path) -> int | None:
    """Return the process id that holds *path*, or None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(descriptor, 20) or b"0") or None
    else:
        return None
    finally:
        os.close(descriptor)


@contextmanager
def one_at_a_time(run_dir: Path) -> Iterator[None]:
    """Serialise the commands that start or stop things."""
    path = run_dir.resolve() / "command.lock"
    descriptor = hold(path)
    if descriptor is None:
        print("Waiting: another `just` command is changing the stack ...", flush=True)
        while descriptor is None:
            descriptor = hold(path, wait_s=1)
    try:
        yield
    finally:
        os.close(descriptor)
