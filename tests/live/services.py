"""The real services as processes, each killed at the end however the test ends."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx

from broker.manifest import ModelManifest, Pointer
from tests.servers import MOST_S, RedisServer, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "models"


def make_model(store: Path, name: str, kind: str = "strange", version: str = "1") -> None:
    """A model folder without files, live from now on: the strange kind needs none."""
    manifest = ModelManifest(
        name=name,
        version=version,
        kind=kind,
        labels=("negative", "positive"),
        max_length=10_000,
        metrics={},
        data_digest="0" * 64,
        code_revision="test",
        created="2026-01-01T00:00:00Z",
        files={},
    )
    folder = store / name / version
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(manifest.model_dump_json())
    (store / name / "live.json").write_text(Pointer(version=version, generation=int(version)).model_dump_json())


class Process:
    """One service, its port, and the end of its log for when a test fails."""

    def __init__(self, command: list[str], port: int, environment: dict[str, str], log: Path) -> None:
        self.port = port
        self.log = log
        self._command = command
        self._environment = environment
        self.start()

    def start(self, **settings: object) -> None:
        """Start it, for the first time or again: the same command, port and settings, but for *settings*."""
        self._environment |= {name: str(value) for name, value in settings.items()}
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=os.environ | self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; also a stopped process dies of it."""
        with suppress(ProcessLookupError):
            self.popen.kill()
        self.popen.wait(MOST_S)

    def terminate(self) -> int:
        """SIGTERM; return the exit code."""
        self.popen.terminate()
        return self.popen.wait(MOST_S)

    def healthy(self, path: str) -> bool:
        assert self.alive, self.log.read_text()[-3000:]
        with suppress(httpx.HTTPError):
            return httpx.get(self.url + path, timeout=2).status_code == 200
        return False

    def wait(self, path: str) -> "Process":
        wait_until(lambda: self.healthy(path), f"{self.log.stem} answers {path}")
        return self


class Services:
    """Starts services on one server with one model store."""

    def __init__(self, server: RedisServer, folder: Path, **settings: object) -> None:
        self.server = server
        self.folder = folder
        self.models = folder / "models"
        self.models.mkdir()
        self.settings = {f"OBSERVA_{name.upper()}": str(value) for name, value in settings.items()}
        self.processes: list[Process] = []

    def ship(self, name: str) -> None:
        """Put one of the shipped models into the store."""
        (self.models / name).symlink_to(SHIPPED / name)

    def gateway(self, *, ready: bool = True, wait: bool = True, port: int | None = None, **settings: object) -> Process:
        port = port or free_port()
        process = self._start("gateway", port, {"OBSERVA_GATEWAY_PORT": port, **settings})
        return process.wait("/readyz" if ready else "/healthz") if wait else process

    def worker(self, module: str = "tests.live.strange_worker", *, wait: bool = True, **settings: object) -> Process:
        port = free_port()
        process = self._start(module, port, {"OBSERVA_WORKER_METRICS_PORT_BASE": port, **settings})
        return process.wait("/healthz") if wait else process

    def monitor(self, *, wait: bool = True, **settings: object) -> Process:
        port = free_port()
        process = self._start("monitor", port, {"OBSERVA_MONITOR_PORT": port, **settings})
        return process.wait("/healthz") if wait else process

    def archive(self, **settings: object) -> Process:
        port = free_port()
        return self._start("archive", port, {"OBSERVA_ARCHIVE_PORT": port, **settings}).wait("/metrics")

    def explainer(self, **settings: object) -> Process:
        port = free_port()
        return self._start("worker.explaining", port, {"OBSERVA_EXPLAINER_PORT": port, **settings}).wait("/healthz")

    def wait(self) -> None:
        """Wait until all that were started live; to start them together takes less time than one after the other."""
        for process in self.processes:
            process.wait("/healthz")

    def stop(self) -> None:
        for process in self.processes:
            process.kill()

    def logs(self) -> str:
        """Everything the services wrote."""
        return "".join(process.log.read_text() for process in self.processes)

    def _start(self, module: str, port: int, more: dict[str, object], *arguments: str) -> Process:
        environment = {
            "OBSERVA_REDIS_URL": self.server.url,
            "OBSERVA_MODELS": str(self.models),
            "OMP_NUM_THREADS": "1",
            **self.settings,
            **{name: str(value) for name, value in more.items()},
        }
        log = self.folder / f"{module.rpartition('.')[2]}-{len(self.processes)}.log"
        process = Process([sys.executable, "-m", module, *arguments], port, environment, log)
        self.processes.append(process)
        return process


def body(text: str, **fields: object) -> bytes:
    return json.dumps({"text": text, **fields}).encode()
