"""One way to connect, one check of the server, one idea of its time."""

import time
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from broker.errors import BrokerUnavailableError, UnsafeServerError
from broker.settings import BrokerSettings
from broker.wire import WiredPool

BLOCK_MS = 1000  # of a blocking read; well below SOCKET_TIMEOUT_S, or every idle read would end as an error
SOCKET_TIMEOUT_S = 5
OLDEST_VERSION = (7, 0)  # XINFO GROUPS reports lag, XGROUP SETID takes ENTRIESREAD


def connect(settings: BrokerSettings, name: str) -> Redis:
    """Return a client with a bounded pool; nothing is sent yet.

    The client never repeats a command by itself: redis-py's default of ten tries turns one XADD whose reply got lost
    into several entries. Who may repeat a command does so with `broker.backoff`.
    """
    pool = WiredPool.from_url(
        settings.url_with_password,
        max_connections=settings.redis_max_connections,
        timeout=SOCKET_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        client_name=f"observa-{name}",
        protocol=2,
    )
    return Redis.from_pool(pool)


async def check_server(redis: Redis, settings: BrokerSettings) -> None:
    """Make sure that the server keeps what it is given.

    Raises:
        BrokerUnavailableError: it cannot be reached, or refuses our password.
        UnsafeServerError: it would evict or lose entries, or is too old.

    """
    where = settings.server_url.rpartition("@")[2]
    try:
        info: dict[str, Any] = await redis.info()
    except RedisError as error:
        raise BrokerUnavailableError(f"{where} {_refusal(error)}") from error
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if "valkey_version" not in info and version < OLDEST_VERSION:
        raise UnsafeServerError(f"{where} is Redis {info['redis_version']}; 7.0 or newer is needed")
    if info["maxmemory_policy"] != "noeviction":
        raise UnsafeServerError(
            f"{where} may evict requests (maxmemory-policy {info['maxmemory_policy']}); "
            "run CONFIG SET maxmemory-policy noeviction"
        )
    if not info["aof_enabled"] and not settings.allow_unsafe_redis:
        raise UnsafeServerError(
            f"{where} forgets everything at a restart (no append-only file); run CONFIG SET appendonly yes, "
            "or set OBSERVA_ALLOW_UNSAFE_REDIS=true for a trial"
        )


def _refusal(error: RedisError) -> str:
    """Say why the server cannot be used, and what to look at."""
    if isinstance(error, AuthenticationError):
        return "refuses the password; check OBSERVA_REDIS_URL, OBSERVA_REDIS_USER and OBSERVA_REDIS_PASSWORD_FILE"
    if isinstance(error, NoPermissionError):
        return "does not let this user look at it; check OBSERVA_REDIS_USER and the server's ACL file"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        reason = str(error).partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return f"shows a certificate that is not trusted ({reason}); check OBSERVA_REDIS_CA_FILE and the host's name"
    return f"cannot be reached ({error}); start it with `just up` or set OBSERVA_REDIS_URL"


class Clock:
    """Redis' time without a question each time: its offset from this process' monotonic clock.

    Ages and deadlines are measured on this clock alone, since entry ids are stamped by it.
    """

    def __init__(self) -> None:
        self._offset_ms = time.time() * 1000 - time.monotonic() * 1000

    async def sync(self, redis: Redis) -> None:
        """Ask Redis for its time; the offset is right to half the round trip."""
        before = time.monotonic()
        seconds, microseconds = await redis.time()
        middle = (before + time.monotonic()) / 2
        self._offset_ms = int(seconds) * 1000 + int(microseconds) / 1000 - middle * 1000

    def now_ms(self) -> float:
        """Return Redis' Unix time in milliseconds."""
        return time.monotonic() * 1000 + self._offset_ms
