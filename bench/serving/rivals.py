"""How each peer starts: in an environment of its own, with the worker's own code for the model."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from bench.serving.systems import ROOT, Running
from tests.servers import RedisServer, free_port

CACHE: Final = ROOT / ".cache" / "bench"
REQUIREMENTS: Final = Path(__file__).with_name("peers") / "requirements"
PATIENCE_S: Final = 90
_UVICORN: Final = ("-m", "uvicorn", "--host", "127.0.0.1", "--no-access-log", "--log-level", "warning")
_OIP: Final = '{"inputs":[{"name":"text","shape":[1,1],"datatype":"BYTES","data":[%s]}]}'


class MissingPeerError(Exception):
    """A peer cannot be tried here; the message says how it could."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer: what it is called, what runs, and how it is spoken to."""

    title: str
    environment: str  # a file of `REQUIREMENTS`, or the trainer's
    command: Callable[[int, Path], list[str]]  # port and an empty folder to what follows the interpreter
    path: str = "/predict"
    body: str = '{"text":%s}'
    variables: Mapping[str, str] = field(default_factory=dict)
    beside: Callable[[Path], list[str]] | None = None  # another process of it, with a Redis between
    transformers_only: bool = False


def _mls(port: int, folder: Path) -> list[str]:
    (folder / "settings.json").write_text(
        f'{{"http_port": {port}, "host": "127.0.0.1", "grpc_port": {free_port()}, "metrics_endpoint": null,'
        f' "metrics_port": {free_port()}, "parallel_workers": 2, "debug": false}}'
    )
    (folder / "model-settings.json").write_text(
        '{"name": "peer", "implementation": "bench.serving.peers.mls.Sentiment",'
        ' "max_batch_size": 16, "max_batch_time": 0.003}'
    )
    return [str(CACHE / "mls" / "bin" / "mlserver"), "start", str(folder)]


PEERS: Final[dict[str, Peer]] = {
    "inprocess": Peer(
        "FastAPI + ONNX Runtime in process, 2 processes",
        "inprocess",
        lambda port, _: [*_UVICORN, "--port", str(port), "--workers", "2", "bench.serving.peers.inprocess:app"],
    ),
    "pipeline": Peer(
        "FastAPI + transformers pipeline",
        "trainer",
        lambda port, _: [*_UVICORN, "--port", str(port), "bench.serving.peers.pipeline:app"],
        transformers_only=True,
    ),
    "lit": Peer("LitServe", "lit", lambda port, _: ["-m", "bench.serving.peers.lit", str(port)]),
    "bento": Peer(
        "BentoML",
        "bento",
        lambda port, _: [
            *("-m", "bentoml", "serve", "bench.serving.peers.bento:Sentiment"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        body='{"text":[%s]}',  # an endpoint that batches takes lists
        variables={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    "mls": Peer("MLServer", "mls", _mls, path="/v2/models/peer/infer", body=_OIP),
    "ray": Peer(
        "Ray Serve",
        "ray",
        lambda port, _: ["-m", "bench.serving.peers.rayserve", str(port)],
        variables={"RAY_USAGE_STATS_ENABLED": "0"},
    ),
    "celery": Peer(
        "Celery + FastAPI",
        "celery",
        lambda port, _: [*_UVICORN, "--port", str(port), "bench.serving.peers.queue:app"],
        beside=lambda _: [
            *("-m", "celery", "--app", "bench.serving.peers.queue:celery", "worker"),
            *("--pool", "prefork", "--concurrency", "2", "--loglevel", "error", "--without-mingle", "--without-gossip"),
        ],
    ),
}


@contextmanager
def peer(name: str, model: str, folder: Path) -> Iterator[Running]:
    """Run one of `PEERS` with the shipped version 1 of *model*.

    Raises:
        MissingPeerError: it cannot be installed, or does not start.

    """
    chosen, port = PEERS[name], free_port()
    if chosen.transformers_only and model != "sentiment":
        raise MissingPeerError("serves transformers only")
    python = _environment(chosen.environment)
    variables = {
        "BENCH_MODEL": str(ROOT / "models" / model / "1"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **chosen.variables,
    }
    with ExitStack() as stack:
        commands = [chosen.command(port, folder)]
        if chosen.beside:
            server = RedisServer(folder)
            server.start("--appendonly", "no")
            stack.callback(server.stop)
            variables["BENCH_REDIS"] = server.url
            commands.append(chosen.beside(folder))
        log = stack.enter_context((folder / "peer.log").open("wb"))
        processes = [stack.enter_context(_process([str(python), *command], variables, log)) for command in commands]
        running = Running(port, chosen.path, {"peer": [process.pid for process in processes]}, chosen.body)
        _await_answer(running, processes, folder / "peer.log")
        yield running


@contextmanager
def _process(command: list[str], variables: Mapping[str, str], log: object) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | variables,
        stdout=log,  # type: ignore[arg-type]
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a peer and whatever it has started, by the group that is all its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 15)
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)


def _await_answer(running: Running, processes: list[subprocess.Popen[bytes]], log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if any(process.poll() is not None for process in processes):
            break
        with suppress(httpx.HTTPError):
            body = running.body_of("a joy from start to finish").encode()
            answer = httpx.post(
                f"http://127.0.0.1:{running.port}{running.path}",
                content=body,
                headers={"content-type": "application/json"},
                timeout=5,
            )
            if answer.status_code == httpx.codes.OK and "positive" in answer.text:
                return
        time.sleep(0.1)
    raise MissingPeerError(f"does not start; the end of its log: {log.read_text(errors='replace')[-600:]}")


def _environment(name: str) -> Path:
    if name == "trainer":
        python = ROOT / ".venv-trainer" / "bin" / "python"
        if not python.exists():
            raise MissingPeerError("needs the trainer's environment; run: just install-trainer")
        return python
    python = CACHE / name / "bin" / "python"
    wanted = (REQUIREMENTS / f"{name}.txt").read_text()
    stamp = CACHE / name / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        try:
            subprocess.run(
                ["uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(CACHE / name)], check=True
            )
            subprocess.run(
                ["uv", "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), f"{name}.txt"],
                cwd=REQUIREMENTS,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise MissingPeerError(f"cannot be installed ({error}); it needs uv and the package index") from error
        stamp.write_text(wanted)
    return python


def own_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return an empty folder that is gone afterwards."""
    return tempfile.TemporaryDirectory(prefix="observa-bench-", ignore_cleanup_errors=True)
