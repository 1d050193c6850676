"""What a service's start waits for, and what ends it at once."""

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.connection import patiently
from broker.errors import BrokerUnavailableError, UnsafeServerError
from broker.settings import BrokerSettings

PASSING = [
    RedisConnectionError("Error 111"),
    RedisTimeoutError("Timeout reading"),
    OSError("no route"),
    BusyLoadingError("loading"),
    OutOfMemoryError("used memory > 'maxmemory'"),
    ReadOnlyError("a read only replica"),
    ResponseError("MISCONF Errors writing to the AOF file"),
    ResponseError("NOREPLICAS Not enough good replicas"),
]
LASTING = [
    AuthenticationError("WRONGPASS"),
    NoPermissionError("no permissions"),
    ResponseError("unknown command"),
    RedisConnectionError("CERTIFICATE_VERIFY_FAILED: certificate verify failed: self-signed (_ssl.c:1)"),
]


def step(*errors):
    """A step that meets each of *errors*, then works."""
    left = list(errors)

    async def do():
        if left:
            raise left.pop(0)
        return "done"

    return do


def waiting(seconds):
    return BrokerSettings(redis_url="redis://:secret@127.0.0.1:1/0", redis_wait_s=seconds)


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
async def test_a_server_that_is_away_busy_or_full_is_waited_for(error, caplog):
    assert await patiently(step(error, error), waiting(60)) == "done"
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["the start waits"]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
async def test_no_longer_than_the_setting_says(error):
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1/0 "):
        await patiently(step(error), waiting(0))


@pytest.mark.parametrize("error", LASTING, ids=lambda error: str(error)[:12])
async def test_what_a_person_must_put_right_ends_a_start_at_once(error):
    with pytest.raises(BrokerUnavailableError) as raised:
        await patiently(step(error), waiting(60))
    assert "secret" not in str(raised.value)


async def test_an_unsafe_server_ends_a_start_at_once_in_its_own_words():
    with pytest.raises(UnsafeServerError, match="may evict"):
        await patiently(step(UnsafeServerError("may evict")), waiting(60))
