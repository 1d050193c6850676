"""Take a port before anything else happens, so that one in use is found at once."""

import os
import socket

from broker.errors import SettingsError


def listen(host: str, port: int, setting: str) -> socket.socket:
    """Return a listening socket; *setting* begins the names of the two variables, as OBSERVA_GATEWAY.

    Raises:
        SettingsError: the address cannot be had.

    """
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port} ({os.strerror(error.errno or 0)}); stop what uses it, "
            f"or set {setting}_HOST and {setting}_PORT"
        ) from error
