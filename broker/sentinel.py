"""Connections to whichever server the Sentinels call primary."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from broker.settings import BrokerSettings

SENTINEL_TIMEOUT_S: Final = 1  # for one Sentinel's answer; the next one is asked then


class SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """A bounded pool of connections to whichever server the Sentinels call primary at the time of connecting."""

    async def get_master_address(self) -> tuple[str, int]:
        """Ask the Sentinels where the primary is."""
        try:
            found: tuple[str, int] = await super().get_master_address()  # type: ignore[no-untyped-call]
        except MasterNotFoundError:  # its message spells out every client
            raise RedisConnectionError(
                f"no Sentinel names a primary called {self.service_name}, or none lets us ask: "
                "OBSERVA_REDIS_SENTINEL_PASSWORD_FILE"
            ) from None
        return found

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 as in redis-py
        """Close the connections, those to the Sentinels too unless only idle ones are meant."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()


def sentinel_pool(
    settings: BrokerSettings, servers: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> BlockingConnectionPool:
    """Return a pool for the primary that the Sentinels at *servers* watch; *options* are those of its connections."""
    primary = {name: value for name, value in servers[0].items() if name not in {"host", "port"}}
    encrypted = primary.get("connection_class") is SSLConnection
    asked = {
        "password": settings.sentinel_password,
        "ssl": encrypted,
        "socket_timeout": SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": SENTINEL_TIMEOUT_S,
        "retry": options["retry"],
    } | {name: value for name, value in primary.items() if name.startswith("ssl_")}
    hosts = [(one["host"], one.get("port", 26379)) for one in servers]
    sentinel = Sentinel(hosts, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
    chosen = primary | dict(options)
    chosen["connection_class"] = SentinelManagedSSLConnection if encrypted else SentinelManagedConnection
    return SentinelPool(settings.sentinel_service, sentinel, **chosen)  # type: ignore[no-untyped-call]
