"""A stack of its own for each test: the real supervisor and server, with small stand-ins for the services."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from deploy.local import locks
from tests.servers import free_port, free_ports

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = """
import http.server, os, signal, sys
NAME = __package__
PORT = int(os.environ[{"gateway": "OBSERVA_GATEWAY_PORT", "monitor": "OBSERVA_MONITOR_PORT",
                       "worker": "OBSERVA_WORKER_METRICS_PORT_BASE"}[NAME]])
PORT += int(os.environ.get("OBSERVA_WORKER_SLOT", 0))
if os.environ.get("OBSERVA_TEST_FAILS") == NAME:
    sys.exit(f"observa {NAME}: the model store is empty")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        if NAME == "monitor":
            self.wfile.write(os.environ.get("OBSERVA_TEST_MONITOR_SAYS", "").encode())
    def log_message(self, *_):
        pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(f"{NAME} listens on {PORT}", flush=True)
http.server.HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
"""


class Stack:
    """A copy of the tree in which nothing collides with a running stack."""

    def __init__(self, root: Path, tree: Path | None = None) -> None:
        self.root = root
        self.tree = tree or root
        self.redis_port, self.gateway_port, self.monitor_port = free_port(), free_port(), free_port()
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("OBSERVA_")} | {
            "OBSERVA_DATA_DIR": str(root / "data"),
            "OBSERVA_RUN_DIR": str(root / "run"),
            "OBSERVA_REDIS_PORT": str(self.redis_port),
            "OBSERVA_GATEWAY_PORT": str(self.gateway_port),
            "OBSERVA_MONITOR_PORT": str(self.monitor_port),
            "OBSERVA_WORKER_METRICS_PORT_BASE": str(free_ports(4)),
            "OBSERVA_WORKERS": "2",
            "OBSERVA_ALERTING": "false",
            "OBSERVA_CONSOLE": "false",
            "OBSERVA_EXPLAINER": "false",
            "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / f"observa-tests-{os.getuid()}"),
        }
        # Two dozen short-lived processes a test: compiling every library in each would take most of the time.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def begin(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.local", *command],
            cwd=self.tree,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, **environment: str) -> tuple[int, str]:
        """Return exit code and output."""
        process = self.begin(*command, **environment)
        output, _ = process.communicate(timeout=100)
        return process.returncode, output

    def ok(self, *command: str, **environment: str) -> str:
        code, output = self.run(*command, **environment)
        assert code == 0, output
        return output

    def pid(self, name: str) -> int | None:
        """The number of the process that runs under this name; None while there is none."""
        return locks.holder(self.root / "run" / "processes" / name)

    def workers(self) -> dict[str, int]:
        """The workers that run: name to process."""
        names = (path.name for path in (self.root / "run" / "processes").glob("worker-*[0-9]"))
        return {name: pid for name in names if (pid := self.pid(name))}

    def redis(self) -> Redis:
        password = (self.root / "data" / "redis.password").read_text().strip()
        return Redis(port=self.redis_port, password=password, decode_responses=True)

    def end(self) -> None:
        if (self.root / "run" / "processes").exists():
            self.ok("down")

    def kill(self, name: str) -> None:
        pid = self.pid(name)
        assert pid, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)


def make(root: Path) -> Stack:
    for room in ("deploy", "broker", "requirements"):
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    for service in ("gateway", "worker", "monitor"):
        (root / service).mkdir()
        (root / service / "__main__.py").write_text(STAND_IN)
    return Stack(root)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that does not run yet."""
    stack = make(tmp_path)
    yield stack
    stack.end()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack for tests that leave it running."""
    stack = make(tmp_path_factory.mktemp("running"))
    stack.ok("up")
    yield stack
    stack.end()
