"""FastStream's broker of the control stream, on a client of ours: for one server, Sentinels or a cluster alike."""

from typing import Any

from faststream.redis import RedisBroker
from faststream.redis.configs.state import ConnectionState
from redis.asyncio import Redis
from redis.exceptions import RedisError

from broker.backoff import Backoff
from broker.connection import connect
from broker.settings import BrokerSettings
from worker.settings import WorkerSettings


class ControlBus(RedisBroker):
    """The bus on which workers hear that something changed."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        super().__init__(
            logger=None,  # type: ignore[arg-type]  # documented; the annotation lacks it
            graceful_timeout=1,
        )

    def _make_connection_state(self, _options: dict[str, Any], _kwargs: dict[str, Any]) -> ConnectionState[Any]:
        return _Connection(self._settings, f"worker-{self._settings.worker_slot}-bus")


class _Connection(ConnectionState[Any]):
    def __init__(self, settings: BrokerSettings, name: str) -> None:
        super().__init__()
        self._settings = settings
        self._name = name

    async def connect(self) -> Any:
        self._client = _Patient(connect(self._settings, self._name))
        self._connected = True
        return self._client


class _Patient:
    """A client whose reading waits until Redis answers.

    FastStream reads again at once after most errors: 1400 times a second from a read-only server. Reading twice does no
    harm here: nothing is written. Nor does a start that finds no server: workers look at the store by themselves.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def xread(self, *args: Any, **options: Any) -> Any:
        backoff = Backoff(first_s=0.1, most_s=5)
        while True:
            try:
                return await self._redis.xread(*args, **options)
            except (RedisError, OSError):
                await backoff.wait()

    async def ping(self) -> bool:
        """Let FastStream go on: it gives a start three seconds, and stops the application after that."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)
