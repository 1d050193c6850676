"""Who may call what: API keys where the gateway asks for them, and what only the internal port shows."""

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import lru_cache
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.types import Scope as Connection

from broker.access import ApiKey, Scope, read_keys, verify
from broker.answers import KEYLESS
from broker.connection import Clock
from broker.duties import Pulse
from gateway.limits import Limits
from gateway.metrics import Metrics
from gateway.problems import Problem
from gateway.settings import GatewaySettings

REFRESH_S: Final = 1.0  # a key revoked elsewhere is refused within this time

# A path belongs to the entry that it is or lies under.
OPEN: Final = ("/healthz", "/readyz", "/v2/health", "/metrics", "/docs", "/openapi.json")
INTERNAL: Final = ("/metrics", "/docs", "/openapi.json", "/v1/streams", "/v1/alerts", "/v1/dead")
SCOPES: Final[dict[Scope, tuple[str, ...]]] = {
    "predict": ("/predict", "/v1/models", "/v1/predictions", "/v1/explanations", "/v2"),
    "feedback": ("/feedback",),
    "admin": ("/v1/streams", "/v1/alerts", "/v1/dead"),
}

_ANYBODY: Final = nullcontext("")

log = logging.getLogger(__name__)


@lru_cache(1024)  # paths are the callers'
def scope_for(path: str) -> Scope | None:
    """Return the scope that *path* takes; None for what is open to all. What nobody named takes admin."""
    if _lies_under(path, OPEN):
        return None
    return next((scope for scope, places in SCOPES.items() if _lies_under(path, places)), "admin")


class Access:
    """Decides about each request before anything of it is read; one per process."""

    def __init__(self, settings: GatewaySettings, metrics: Metrics) -> None:
        self.required = settings.auth == "keys"
        self.pulse = Pulse()
        self._internal_port = settings.internal_port
        self._metrics = metrics
        self._limits = Limits(settings.gateway_key_requests_per_second, settings.gateway_key_open_requests)
        self._keys: dict[str, ApiKey] | None = None  # None: never read
        self._told = False

    def is_internal(self, connection: Connection) -> bool:
        """Tell whether a request came to the internal port."""
        server = connection.get("server")
        return self._internal_port is not None and server is not None and server[1] == self._internal_port

    def admitting(self, connection: Connection) -> AbstractAsyncContextManager[str]:
        """Give the name of the caller while the request runs; empty where no key is asked for.

        Raises:
            Problem: 404 not on this port, 401 no valid key, 403 a key without the scope, 429 past the caller's share.

        """
        path = connection["path"]
        if self._internal_port is not None and not self.is_internal(connection) and _lies_under(path, INTERNAL):
            raise Problem("not_found")
        wanted = scope_for(path)
        if not self.required or wanted is None:
            return _ANYBODY
        key = connection["state"]["key"] = self._identify(connection["headers"])
        if wanted not in key.scopes:
            raise Problem("forbidden")
        return self._limits.counting(key.caller)

    def reach(self, connection: Connection) -> frozenset[str] | None:
        """Return the ids of the API keys whose records the admitted caller may read and label; None: all records.

        The keys of one caller share their records, so that a change of keys loses none.
        """
        key: ApiKey | None = connection["state"].get("key")
        if key is None or "admin" in key.scopes:
            return None
        return frozenset(other.id for other in (self._keys or {}).values() if other.caller == key.caller)

    async def refresh(self, redis: Redis) -> None:
        """Read the keys. None at all, where there were some, is a lost store and not a decision: the known ones hold.

        Raises:
            redis.exceptions.RedisError: they cannot be read; the known ones hold.

        """
        found = await read_keys(redis)
        lost = bool(self._keys) and not found
        if not lost:
            self._keys = found
        elif not self._told:
            log.warning("the stored API keys are gone; those known here hold until a restart: just keys create")
        self._told = lost

    async def refresh_forever(self, redis: Redis, clock: Clock) -> None:
        """Refresh, and share what callers may ask with the other gateways, as long as the process runs."""
        while True:
            await asyncio.sleep(REFRESH_S)
            self.pulse.beat()
            try:
                await self.refresh(redis)
                await self._limits.exchange(redis, clock.now_ms())
            except (RedisError, OSError):
                self._metrics.broker_failures.labels("keys").inc()

    def _identify(self, headers: Iterable[tuple[bytes, bytes]]) -> ApiKey:
        if self._keys is None:
            raise Problem("broker_unavailable")
        value = next((value for name, value in headers if name == b"authorization"), b"").decode("latin-1")
        scheme, _, shown = value.partition(" ")
        key = verify(self._keys, shown if scheme.lower() == "bearer" else "", time.time())
        if key is None:  # the same for a missing, malformed, unknown, wrong, expired and revoked key
            challenge = {"WWW-Authenticate": 'Bearer realm="observa"', "Connection": "close"}  # no body is read
            raise Problem("unauthorized", headers=challenge)
        return key


def key_of(connection: Connection) -> str:
    """Return the id of the admitted caller's API key, for the records it asks for."""
    key: ApiKey | None = connection["state"].get("key")
    return key.id if key else KEYLESS


def is_within(reach: frozenset[str] | None, key: str | None) -> bool:
    """Tell whether a caller of that *reach* may know of a record; one that no key asked for is nobody's secret."""
    return reach is None or key in {None, KEYLESS} or key in reach


def _lies_under(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)
