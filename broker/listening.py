"""How a service answers HTTP: a port taken before anything else happens, one protocol with limits, known names."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn

from broker.addresses import Names
from broker.errors import SettingsError
from broker.http_protocol import PatientProtocol

GRACE_S: Final = 10  # for open requests at the end: who does not read its answer would hold up the service for ever
MOST_CONNECTIONS: Final = 256  # of a server that only people, probes and Prometheus ask


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
        named = isinstance(error, socket.gaierror)  # its numbers are not the system's
        reason = error.strerror if named else os.strerror(error.errno or 0)
        raise SettingsError(
            f"cannot listen on {host} port {port} ({reason}); stop what uses it, "
            f"or set {setting}_HOST and {setting}_PORT"
        ) from error


def http_options(
    http: type[PatientProtocol] = PatientProtocol, *, most_connections: int = MOST_CONNECTIONS
) -> dict[str, Any]:
    """Return what uvicorn is told by every server of ours."""
    return {
        "http": http,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "limit_concurrency": most_connections,
    }


def protocol_for(names: Names | None, prefix: str = "") -> type[PatientProtocol]:
    """Return the protocol that answers to *names* alone (None: to all); a proxy may leave *prefix* before paths."""
    return type("NamedProtocol", (PatientProtocol,), {"names": names, "prefix": prefix.encode()})


class Server(uvicorn.Server):
    """Serves *application* to those who call it by one of *names*.

    Leaves the signals to the service: its work ends after the last request, and the exit code is 0.
    """

    def __init__(self, application: Any, names: Names) -> None:
        options = http_options(protocol_for(names))
        super().__init__(uvicorn.Config(application, lifespan="off", timeout_graceful_shutdown=GRACE_S, **options))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
