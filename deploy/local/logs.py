"""The services' logs: whole lines from many processes, rotated, and shown."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.errors import ObservaError
from deploy.local.settings import StackSettings

_LONGEST_LINE = 65_536  # what grows beyond is no line, and is written as it is


class RotatingLog:
    """What the supervisor gives a service's output to; writes whole lines, since workers share a file."""

    def __init__(self, path: Path, max_bytes: int = 10_000_000, backups: int = 5) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._begun: dict[int, bytes] = {}
        self.open()
        if self._file.tell():  # a log a run
            self._rotate()

    def open(self) -> None:
        """Open the file, to write at its end."""
        self._file = self._path.open("ab", buffering=0)

    def __call__(self, data: Mapping[str, Any]) -> None:
        """Take what one process wrote (`pid`, `data`), keep its unfinished last line back."""
        pid: int = data["pid"]
        chunk: bytes = data["data"]
        lines, newline, rest = (self._begun.pop(pid, b"") + chunk).rpartition(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, newline, rest = lines + newline + rest, b"\n", b""
        if rest:
            self._begun[pid] = rest
        if newline:
            self._write(lines + newline)

    def _write(self, lines: bytes) -> None:
        if self._file.tell() + len(lines) > self._max_bytes:
            self._rotate()
        self._file.write(lines)

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._backups - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self.open()

    def close(self) -> None:
        """Write what was begun and close the file."""
        for rest in self._begun.values():
            self._write(rest + b"\n")
        self._begun.clear()
        self._file.close()


def last_lines(settings: StackSettings, service: str, count: int) -> list[str]:
    """Return the end of a service's log."""
    path = settings.logs / f"{service}.log"
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 100_000))
        return file.read().decode(errors="replace").splitlines()[-count:]


def show(settings: StackSettings, service: str | None, *, follow: bool) -> None:
    """Become `tail` on one log or all of them.

    Raises:
        ObservaError: there is no such log.

    """
    names = [service] if service else [path.stem for path in sorted(settings.logs.glob("*.log"))]
    paths = [settings.logs / f"{name}.log" for name in names]
    known = (
        ", ".join(sorted(path.stem for path in settings.logs.glob("*.log"))) or "none yet; `just up` starts the stack"
    )
    if not paths or not all(path.exists() for path in paths):
        raise ObservaError(f"no log of {service or 'anything'}; there are: {known}")
    os.execvp("tail", ["tail", "-n", "40", *(["-F"] if follow else []), *map(str, paths)])  # noqa: S606, S607
