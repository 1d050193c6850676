"""The demonstration's own model: set up beside the running stack, and taken away without a trace."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from broker.announcements import announcements
from broker.errors import ObservaError
from broker.manifest import Pointer, live_version, read_manifest
from broker.streams import SERVED, Tag
from cli.settings import CliSettings
from cli.terminal import note

MODEL = "demo-drift"
COPIED = "sentiment-linear"  # light: it leaves the machine to the stack
VERSION = "1"
START_S = 40.0
LEAVE_S = 15.0
FORGET_S = 40.0  # the monitor leaves a model 15 s after it was last announced, and looks every 5 s

TAG = Tag(MODEL)

# Runs the worker until it ends by itself or standard input does: it cannot outlive us, however we die.
NOT_ALONE = 'exec 3<&0; "$@" & worker=$!; { read -r _ <&3; kill "$worker"; } & wait "$worker"'


@asynccontextmanager
async def stage(redis: Redis, settings: CliSettings, watched: "Watched") -> AsyncIterator[None]:
    """Serve the model while the body runs; afterwards remove worker, folders and keys, also after Ctrl-C.

    Raises:
        ObservaError: there is a model of that name, or its worker does not start.

    """
    shown = settings.models / MODEL  # where the monitor finds the reference; without a pointer no worker loads it
    if (shown / "live.json").exists():
        raise ObservaError(f"{shown} is a model of your own; move it away to run the demonstration")
    with tempfile.TemporaryDirectory(prefix="observa-demo-") as folder:
        worker: asyncio.subprocess.Process | None = None
        try:
            await _clear(redis, shown)
            if await watched.still():
                note("waiting until the monitor has left a demonstration that was killed (up to 30 s)")
                await _left(watched)
                await _clear(redis, shown)
            _copy_model(settings.models, Path(folder), shown)
            worker = await _start_worker(redis, Path(folder))
            yield
        finally:
            await _remove(redis, worker, shown, watched)


class Watched:
    """Tells whether the monitor still watches the model."""

    async def still(self) -> bool:
        """Ask the monitor; an answer that cannot be had counts as no."""
        raise NotImplementedError


def _copy_model(models: Path, store: Path, shown: Path) -> None:
    source = models / COPIED / live_version(models, COPIED)
    manifest = read_manifest(source).model_copy(update={"name": MODEL, "version": VERSION})
    copy = store / MODEL / VERSION
    shutil.copytree(source, copy)
    (copy / "model.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    (copy.parent / "live.json").write_text(Pointer(version=VERSION, generation=1).model_dump_json(), encoding="utf-8")
    try:
        (shown / VERSION).mkdir(parents=True)
        for name in ("model.json", "reference.json"):
            shutil.copyfile(copy / name, shown / VERSION / name)
    except OSError as error:
        raise ObservaError(f"{shown}: {error.strerror}; the monitor must find the model's reference there") from None


async def _start_worker(redis: Redis, folder: Path) -> asyncio.subprocess.Process:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "OBSERVA_MODELS": str(folder),
        "OBSERVA_WORKER_MODELS": MODEL,
        "OBSERVA_WORKER_SLOT": "0",
        "OBSERVA_WORKER_METRICS_PORT_BASE": str(port),
    }
    with (folder / "worker.log").open("wb") as log:
        worker = await asyncio.create_subprocess_exec(
            *("sh", "-c", NOT_ALONE, "sh", sys.executable, "-m", "worker"),
            env=os.environ | own,
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C leaves it to us to stop it
        )
    try:
        await _announced(redis, worker, folder / "worker.log")
    except BaseException:
        await _stop(worker)
        raise
    return worker


async def _announced(redis: Redis, worker: asyncio.subprocess.Process, log: Path) -> None:
    end = time.monotonic() + START_S
    while not await announcements(redis, MODEL):
        if worker.returncode is not None or time.monotonic() > end:
            raise ObservaError(f"the demonstration's worker does not start: {_last_line(log)}")
        await asyncio.sleep(0.2)


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]


async def _stop(worker: asyncio.subprocess.Process) -> None:
    if worker.stdin is not None:
        worker.stdin.close()
    try:
        await asyncio.wait_for(worker.wait(), LEAVE_S)
    except TimeoutError:
        os.killpg(worker.pid, signal.SIGKILL)
        await worker.wait()


async def _remove(redis: Redis, worker: asyncio.subprocess.Process | None, shown: Path, watched: Watched) -> None:
    note("removing the demonstration's model, worker and keys (up to 30 s)")
    if worker is not None:
        await _stop(worker)
    await redis.zrem(SERVED, MODEL)
    left = await _left(watched)
    await _clear(redis, shown)
    note("removed" if left else f"the monitor still watches {MODEL} and keeps its keys; start it again, then the demo")


async def _left(watched: Watched) -> bool:
    """Wait until the monitor no longer watches the model; tell whether that was so in time."""
    end = time.monotonic() + FORGET_S
    while await watched.still():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.5)
    return True


async def _clear(redis: Redis, shown: Path) -> None:
    shutil.rmtree(shown, ignore_errors=True)
    await redis.zrem(SERVED, MODEL)
    for pattern in (f"observa:{{{MODEL}}}:*", f"observa:{{{MODEL}/*"):
        for key in [key async for key in redis.scan_iter(match=pattern, count=1000)]:
            await redis.unlink(key)  # each by itself: in a cluster they may be on several servers
