"""The real monitor as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import orjson

from tests.monitor.entries import reference
from tests.servers import RedisServer, free_port, wait_until


def store(folder: Path) -> Path:
    """A model store that holds version 1 of the sentiment model, as far as the monitor reads it."""
    manifest, profile = reference()
    version = folder / "sentiment" / "1"
    version.mkdir(parents=True)
    (version / "model.json").write_text(manifest.model_dump_json())
    (version / "reference.json").write_text(profile.model_dump_json())
    (folder / "sentiment" / "live.json").write_text('{"version": "1", "generation": 1}')
    return folder


class Process:
    """``python -m monitor`` against one server."""

    def __init__(self, server: RedisServer, models: Path, **settings: Any) -> None:
        self.port = free_port()
        chosen = {"redis_url": server.url, "models": models, "monitor_port": self.port} | settings
        self._environment = {f"OBSERVA_{name.upper()}": str(value) for name, value in chosen.items()}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> "Process":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "monitor"],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"} | self._environment,  # as the supervisor starts it
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def kill(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=20)

    def stop(self) -> int:
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=20)
        return self._process.returncode

    def end(self) -> tuple[int, str]:
        """Wait until it ends by itself; return its exit code and the last line it wrote."""
        assert self._process
        _, errors = self._process.communicate(timeout=20)
        return self._process.returncode, errors.splitlines()[-1]

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def get(self, path: str) -> bytes:
        """Return the body of a successful answer; nothing while there is none."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return bytes(answer.read())
        except (HTTPError, URLError, ConnectionError, TimeoutError):
            return b""

    def report(self) -> dict[str, Any]:
        body = self.get("/report/sentiment")
        return orjson.loads(body) if body else {}


@contextmanager
def running(server: RedisServer, models: Path, **settings: Any) -> Iterator[Process]:
    process = Process(server, models, **settings).start()
    try:
        wait_until(process.report, "the monitor reports")
        yield process
    finally:
        if process.running:
            process.kill()
