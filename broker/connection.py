"""One way to connect, one check of the server, one idea of its time."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from broker.backoff import Backoff
from broker.cluster import ClusterPool, ClusterRedis, primaries
from broker.errors import BrokerUnavailableError, SettingsError, UnsafeServerError
from broker.sentinel import sentinel_pool
from broker.settings import BrokerSettings
from broker.wire import WiredPool

T = TypeVar("T")

BLOCK_MS = 1000  # of a blocking read; well below SOCKET_TIMEOUT_S, or every idle read would end as an error
SOCKET_TIMEOUT_S = 5
Weakness = Literal["evicts", "forgets"]
OF_POOLS = frozenset({"connection_class", "max_connections", "timeout"})  # what no single connection takes
OLDEST_VERSION = (7, 0)  # XINFO GROUPS reports lag, XGROUP SETID takes ENTRIESREAD

OTHER_KINDS = {"cluster support disabled": "cluster", "unknown command 'SENTINEL'": "Sentinel"}
FOR_A_WHILE = ("MISCONF", "BUSY", "NOREPLICAS")  # answers of a full disk, of a script that runs, of a fail-over

log = logging.getLogger(__name__)


def connect(settings: BrokerSettings, name: str) -> Redis:
    """Return a client with a bounded pool; nothing is sent yet.

    The client never repeats a command by itself: redis-py's default of ten tries turns one XADD whose reply got lost
    into several entries. Who may repeat a command does so with `broker.backoff`.

    Raises:
        SettingsError: the URL has options that no connection takes.

    """
    options: dict[str, Any] = {
        "max_connections": settings.redis_max_connections,
        "timeout": SOCKET_TIMEOUT_S,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "client_name": f"observa-{name}",
        "protocol": 2,
    }
    servers = [_server(url) for url in settings.urls]
    match settings.kind:
        case "cluster":
            seeds = [(server["host"], server.get("port", 6379)) for server in servers]
            return ClusterRedis(ClusterPool(seeds, servers[0] | options))
        case "sentinel":
            return Redis.from_pool(sentinel_pool(settings, servers, options))
        case _:
            return Redis.from_pool(WiredPool(**servers[0] | options))


def _server(url: str) -> dict[str, Any]:
    try:
        server: dict[str, Any] = dict(parse_url(url))
        options = {name: value for name, value in server.items() if name not in OF_POOLS}
        server.get("connection_class", Connection)(**options)  # opens nothing; a pool makes one when it is first asked
    except (TypeError, ValueError, RedisError):  # whose message may repeat what the URL says
        raise SettingsError(
            "OBSERVA_REDIS_URL has an option behind its ? that the client does not take, or a value of one; remove it"
        ) from None
    return server


async def check_server(redis: Redis, settings: BrokerSettings) -> None:
    """Make sure that the server, or every primary of the cluster, keeps what it is given.

    Raises:
        BrokerUnavailableError: it cannot be reached, or refuses our password.
        UnsafeServerError: it would evict or lose entries, or is too old.

    """
    where = settings.server_url.partition("://")[2]
    try:
        servers = await primaries(redis)
        infos: list[dict[str, Any]] = [await server.info() for server in servers]
    except RedisError as error:
        raise BrokerUnavailableError(f"{where} {_refusal(error)}") from error
    for server, info in zip(servers, infos, strict=True):
        at = _where(server, settings)
        _check(info, at, settings)
        for weakness in _weaknesses(info, at, settings).values():
            raise UnsafeServerError(weakness)


async def weaknesses(redis: Redis, settings: BrokerSettings) -> dict[Weakness, str]:
    """Return why the server, or a primary of the cluster, would lose entries, in a line each; none: it keeps them.

    `check_server` refuses such a server at the start, but it may be configured anew while it runs.

    Raises:
        redis.exceptions.RedisError: it cannot be reached.

    """
    found: dict[Weakness, str] = {}
    for server in await primaries(redis):
        found |= _weaknesses(await server.info(), _where(server, settings), settings)
    return found


def _where(server: Redis, settings: BrokerSettings) -> str:
    at = server.connection_pool.connection_kwargs
    return f"{at['host']}:{at['port']}" if settings.kind == "cluster" else settings.server_url.partition("://")[2]


def _check(info: dict[str, Any], where: str, settings: BrokerSettings) -> None:
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if "valkey_version" not in info and version < OLDEST_VERSION:
        raise UnsafeServerError(f"{where} is Redis {info['redis_version']}; 7.0 or newer is needed")
    if info.get("cluster_enabled") and settings.kind != "cluster":
        raise UnsafeServerError(f"{where} is part of a cluster; set OBSERVA_REDIS_URL=redis+cluster://HOST:PORT")


def _weaknesses(info: dict[str, Any], where: str, settings: BrokerSettings) -> dict[Weakness, str]:
    found: dict[Weakness, str] = {}
    if info["maxmemory_policy"] != "noeviction":
        found["evicts"] = (
            f"{where} may evict requests (maxmemory-policy {info['maxmemory_policy']}); "
            "run CONFIG SET maxmemory-policy noeviction"
        )
    if not info["aof_enabled"] and not settings.allow_unsafe_redis:
        found["forgets"] = (
            f"{where} forgets everything at a restart (no append-only file); run CONFIG SET appendonly yes, "
            "or set OBSERVA_ALLOW_UNSAFE_REDIS=true for a trial"
        )
    return found


async def check_replicas(redis: Redis, settings: BrokerSettings) -> None:
    """Make sure that there is somebody to wait for, where OBSERVA_DURABILITY=replica.

    Raises:
        BrokerUnavailableError: the server cannot be reached.
        UnsafeServerError: a server has no replica.

    """
    if settings.durability == "memory":
        return
    where = settings.server_url.partition("://")[2]
    try:
        infos = [await server.info("replication") for server in await primaries(redis)]
    except RedisError as error:
        raise BrokerUnavailableError(f"{where} {_refusal(error)}") from error
    if any(info["connected_slaves"] == 0 for info in infos):
        raise UnsafeServerError(
            f"{where} has no replica, and nothing is accepted without one under OBSERVA_DURABILITY=replica; "
            "add a replica, or set OBSERVA_DURABILITY=memory"
        )


async def patiently(step: Callable[[], Awaitable[T]], settings: BrokerSettings) -> T:
    """Do one *step* of a service's start; while the server is only away, busy or full, do it again.

    A service that ended at once would be started by its supervisor later and later, and be missing when the server is
    back. Still, after OBSERVA_REDIS_WAIT_S it ends, since a person may have to look.

    Raises:
        BrokerUnavailableError: the server refuses us, or did not come back in time.

    """
    backoff, end_s, told = Backoff(first_s=0.1), time.monotonic() + settings.redis_wait_s, False
    while True:
        try:
            return await step()
        except (RedisError, OSError, BrokerUnavailableError) as failure:
            error = failure.__cause__ if isinstance(failure, BrokerUnavailableError) else failure
            why = f"{settings.server_url.partition('://')[2]} {_refusal(error)}"
            if not _may_pass(error) or time.monotonic() >= end_s:
                raise BrokerUnavailableError(why) from error
        if not told:
            log.warning("the start waits: %s", why)
            told = True
        await backoff.wait()


def _may_pass(error: BaseException | None) -> bool:
    if isinstance(error, (AuthenticationError, AuthorizationError, NoPermissionError)):
        return False
    if isinstance(error, ResponseError):
        return isinstance(error, (OutOfMemoryError, ReadOnlyError, TryAgainError)) or str(error).startswith(FOR_A_WHILE)
    return "CERTIFICATE_VERIFY_FAILED" not in str(error)


def _refusal(error: BaseException | None) -> str:
    """Say why the server cannot be used, and what to look at."""
    if isinstance(error, AuthenticationError):
        return "refuses the password; check OBSERVA_REDIS_URL, OBSERVA_REDIS_USER and OBSERVA_REDIS_PASSWORD_FILE"
    if isinstance(error, NoPermissionError):
        return "does not let this user look at it; check OBSERVA_REDIS_USER and the server's ACL file"
    if kind := next((kind for said, kind in OTHER_KINDS.items() if said in str(error)), None):
        return f"is no {kind}; set OBSERVA_REDIS_URL=redis://HOST:PORT/0"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        reason = str(error).partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return f"shows a certificate that is not trusted ({reason}); check OBSERVA_REDIS_CA_FILE and the host's name"
    if isinstance(error, ResponseError):
        return f"refuses to work ({error}); look at its log, its disk and its memory"
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
