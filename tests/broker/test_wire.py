"""A line answers whoever asked, in order, never one caller with what is another's, whatever happens to the server."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.connection import connect
from broker.settings import BrokerSettings
from broker.streams import Tag
from broker.wire import Line
from tests.broker.script_users import use_each_script
from tests.servers import eventually


async def test_calls_at_once_get_their_own_answers(redis):
    line = Line(redis)

    answers = await asyncio.gather(*(line("ECHO", str(number)) for number in range(200)))

    assert answers == [str(number).encode() for number in range(200)]


async def test_an_answer_is_as_redis_gives_it(redis):
    await redis.xadd("stream", {"name": "value"}, id="1-1")

    assert await Line(redis)("XRANGE", "stream", "-", "+") == [[b"1-1", [b"name", b"value"]]]


async def test_a_refusal_is_the_client_s_error_and_harms_no_other_call(redis):
    line = Line(redis)

    refused, unknown, answered = await asyncio.gather(
        line("INCRBY", "key", "word"), line("EVALSHA", "0" * 40, 0), line("ECHO", "still here"), return_exceptions=True
    )

    assert isinstance(refused, ResponseError)
    assert isinstance(unknown, NoScriptError)
    assert answered == b"still here"


async def test_who_gives_up_leaves_the_others_their_answers(redis):
    line = Line(redis)
    await line("PING")
    impatient = asyncio.create_task(line("ECHO", "for nobody"))
    await asyncio.sleep(0)

    impatient.cancel()

    assert await line("ECHO", "for me") == b"for me"


async def test_a_line_that_is_cut_says_so_and_works_again(redis):
    line = Line(redis)
    me = await line("CLIENT", "ID")
    waiting = asyncio.create_task(line("BLPOP", "nothing", 0))
    await asyncio.sleep(0)

    await redis.client_kill_filter(_id=me)

    with pytest.raises(RedisConnectionError):
        await waiting
    assert await line("PING") == b"PONG"


async def test_an_answer_that_comes_too_late_is_nobody_s(redis):
    redis.connection_pool.connection_kwargs["socket_timeout"] = 0.2
    line = Line(redis)

    with pytest.raises(RedisTimeoutError):
        await line("BLPOP", "late", 0)
    await redis.rpush("late", "for nobody")

    assert await line("ECHO", "for me") == b"for me"


async def test_a_server_that_is_not_there_is_a_connection_error():
    redis = connect(BrokerSettings(redis_url="redis://127.0.0.1:1", redis_password_file=None), "line")

    with pytest.raises(RedisConnectionError):
        await Line(redis)("PING")
    await redis.aclose()


async def test_without_wires_the_client_is_asked(redis, server):
    other = Redis(port=server.port)
    await redis.xadd("stream", {"name": "value"}, id="1-1")

    assert await Line(other)("XRANGE", "stream", "-", "+") == [[b"1-1", [b"name", b"value"]]]
    await other.aclose()


async def test_scripts_and_lines_share_one_connection_that_closes_with_the_pool(settings, redis):
    other = connect(settings, "many-scripts")

    async def connections() -> int:
        return sum(client["name"] == "observa-many-scripts" for client in await redis.client_list())

    await use_each_script(other, settings, Tag("toy"))
    after_one = await connections()
    for _ in range(20):
        await use_each_script(other, settings, Tag("toy"))
        await asyncio.gather(*(Line(other)("PING") for _ in range(5)))
    assert await connections() == after_one <= 3  # the wire, and two of the pool: a lease is kept while it is held
    await other.aclose()
    await eventually(lambda: _is(connections, 0), "all are closed")


async def _is(count: Callable[[], Awaitable[int]], wanted: int) -> bool:
    return await count() == wanted


async def test_a_call_that_blocks_holds_up_nobody_on_another_line(redis):
    reader, line = Line(redis, blocks=True), Line(redis)
    reading = asyncio.create_task(reader("BLPOP", "nothing", 0))
    await asyncio.sleep(0)

    async with asyncio.timeout(2):
        assert await line("PING") == b"PONG"
    assert not reading.done()
    await redis.rpush("nothing", "something")
    assert await reading == [b"nothing", b"something"]
