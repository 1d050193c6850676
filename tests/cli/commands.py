"""What running a command gives."""

from typing import Protocol


class Just(Protocol):
    """Runs a command: its status, its standard output, its standard error."""

    def __call__(self, *arguments: str) -> tuple[int, str, str]: ...
