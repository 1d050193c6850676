"""How a service answers HTTP beside its own work: a port taken before anything else happens, and no say in its end."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from broker.errors import SettingsError


def listen(host: str, port: int, setting: str, *, shared: bool = False) -> socket.socket:
    """Return a listening socket; *setting* begins the names of the two variables, as OBSERVA_GATEWAY.

    A *shared* address may be listened on by other processes of the same user, too: the system deals out connections.

    Raises:
        SettingsError: the address cannot be had.

    """
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family, backlog=1024, reuse_port=shared)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port} ({os.strerror(error.errno or 0)}); stop what uses it, "
            f"or set {setting}_HOST and {setting}_PORT"
        ) from error


class Server(uvicorn.Server):
    """Leaves the signals to the service: its work ends after the last request, and the exit code is 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
