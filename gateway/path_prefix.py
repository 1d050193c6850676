"""The path under which a caller sees the gateway, where a proxy gives it a part of a site."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from broker.addresses import names_in
from gateway.settings import PATH_PREFIX, GatewaySettings

_PREFIX: ContextVar[str] = ContextVar("prefix", default="")  # of the call that is answered
_HEADER: Final = b"x-forwarded-prefix"


def as_seen(path: str) -> str:
    """Return by which path the caller of the present request reaches *path* of this gateway."""
    return _PREFIX.get() + path


class PathPrefix:
    """Finds out the prefix of each call: what a trusted proxy says, or else the setting."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._usual = settings.path_prefix
        self._networks = [ip_network(network) for network in names_in(settings.trusted_proxies)]
        self._is_trusted = lru_cache(1024)(self._look_up)
        self.is_needed = bool(self._usual or self._networks)

    def note(self, headers: Mapping[bytes, bytes], client: tuple[str, int] | None) -> None:
        """Let `as_seen` know the prefix of a call with these *headers* from *client*."""
        _PREFIX.set((self._said(headers, client[0]) if client else "") or self._usual)

    def _said(self, headers: Mapping[bytes, bytes], host: str) -> str:
        said = headers.get(_HEADER, b"").decode("latin-1").rstrip("/")
        return said if re.fullmatch(PATH_PREFIX, said) and self._is_trusted(host) else ""

    def _look_up(self, host: str) -> bool:
        return any(ip_address(host) in network for network in self._networks)
