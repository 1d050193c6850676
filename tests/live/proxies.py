"""Other people's servers beside ours, each ended with the test."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import wait_until


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """Run *command*, which listens on *port* of loopback once it is there."""
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port), f"{command[0]} listens")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
