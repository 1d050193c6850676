"""The log of a real server, its entries written through the events of broker."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from broker.events import Event, Feedback, Request, Result
from broker.streams import PredictionId, Tag
from cli.reading import oldest
from tests.cli.commands import Just
from tests.servers import RedisServer, eventually

TAG = Tag("sentiment")
pytestmark = pytest.mark.usefixtures("log_of_commands")


def new_id(tag: Tag = TAG) -> str:
    return str(PredictionId.new(tag))


def answer(identity: str, label: str = "positive", **fields: Any) -> Result:
    return Result(
        id=identity, version="v1", status="ok", label=label, confidence=0.75, queue_ms=1, worker="w", **fields
    )


def truth(identity: str, label: str) -> Feedback:
    return Feedback(id=identity, label=label, predicted="positive", confidence=0.75, version="v1", source="caller")


def fields_of(event: Event) -> Any:
    return event.to_fields()  # redis-py's types know no mapping of strings to strings


async def write(redis: Redis, stream: str, event: Event, entry_id: str = "*") -> None:
    await redis.xadd(stream, fields_of(event), id=entry_id)


async def lines(just: Just, *options: str) -> list[dict[str, Any]]:
    status, out, _ = await asyncio.to_thread(just, "log", *options)
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


async def test_a_request_stands_beside_its_answer_and_its_truth(redis: Redis, just: Just) -> None:
    one, two, three = new_id(), new_id(), new_id()
    for identity in (one, two, three):
        await write(redis, TAG.requests, Request(id=identity, text=f"text of {identity}"))
    await write(redis, TAG.results, answer(two, "negative"))
    await write(redis, TAG.results, answer(one))
    await write(redis, TAG.feedback, truth(two, "negative"))
    await write(redis, TAG.feedback, truth(two, "positive"))

    first, second, third = await lines(just)

    assert first["timestamp"].endswith("Z")
    assert first | {"timestamp": ""} == {
        "timestamp": "",
        "id": one,
        "request_text": f"text of {one}",
        "predicted_sentiment": "positive",
        "confidence": 0.75,
        "version": "v1",
        "true_sentiment": None,
        "status": "ok",
    }
    assert (second["id"], second["predicted_sentiment"], second["true_sentiment"]) == (two, "negative", "positive")
    assert (third["id"], third["predicted_sentiment"], third["status"]) == (three, None, "pending")


async def test_a_label_sent_with_the_text_is_the_truth_at_once(redis: Redis, just: Just) -> None:
    await write(redis, TAG.requests, Request(id=new_id(), text="a", true_label="negative"))
    assert [line["true_sentiment"] for line in await lines(just)] == ["negative"]


async def test_a_text_cannot_steer_the_terminal_and_a_program_reads_it_as_it_is(redis: Redis, just: Just) -> None:
    text = "a \x1b[2J\x9b31m\x07\n joy"
    await write(redis, TAG.requests, Request(text=text))
    _, out, _ = await asyncio.to_thread(just, "log")
    assert out.removesuffix("\n").isprintable()
    assert json.loads(out)["request_text"] == text


async def test_a_failed_request_shows_its_code(redis: Redis, just: Just) -> None:
    identity = new_id()
    await write(redis, TAG.requests, Request(id=identity, text="a"))
    failed = Result(id=identity, version="v1", status="error", code="deadline_exceeded", queue_ms=1, worker="w")
    await write(redis, TAG.results, failed)
    assert [line["status"] for line in await lines(just)] == ["deadline_exceeded"]


async def test_what_a_shadow_says_is_not_the_answer(redis: Redis, just: Just) -> None:
    identity = new_id()
    await write(redis, TAG.requests, Request(id=identity, text="a"))
    await write(redis, TAG.results, answer(identity, "negative", role="shadow"))
    assert [line["status"] for line in await lines(just)] == ["pending"]


async def test_a_request_that_was_sent_again_has_one_line_with_its_last_result(redis: Redis, just: Just) -> None:
    identity = new_id()
    await write(redis, TAG.requests, Request(id=identity, text="a"))
    failed = Result(id=identity, version="v1", status="error", code="inference_failed", queue_ms=1, worker="w")
    await write(redis, TAG.results, failed)
    await write(redis, TAG.requests, Request(id=identity, text="a"))
    await write(redis, TAG.results, answer(identity))
    assert [line["status"] for line in await lines(just)] == ["ok"]


async def test_an_entry_written_by_hand_is_there_and_a_broken_one_is_called_unreadable(
    redis: Redis, just: Just
) -> None:
    await redis.xadd(TAG.requests, {"text": "by hand"})
    [(entry_id, _)] = await oldest(redis, TAG.requests)
    await write(redis, TAG.results, answer(str(PredictionId.of_entry(TAG, entry_id))))
    await redis.xadd(TAG.requests, {"nonsense": "x"})
    by_hand, broken = await lines(just)
    assert (by_hand["request_text"], by_hand["predicted_sentiment"]) == ("by hand", "positive")
    assert (broken["request_text"], broken["status"]) == (None, "unreadable")


async def test_count_and_since_choose_the_newest(redis: Redis, just: Just) -> None:
    seconds, _ = await redis.time()
    for minutes in (90, 50, 10, 1):
        await write(
            redis, TAG.requests, Request(id=new_id(), text=f"{minutes} ago"), f"{(seconds - 60 * minutes) * 1000}-0"
        )
    texts = [line["request_text"] for line in await lines(just)]
    assert texts == ["90 ago", "50 ago", "10 ago", "1 ago"]
    assert [line["request_text"] for line in await lines(just, "--count", "2")] == texts[2:]
    assert [line["request_text"] for line in await lines(just, "--since", "1h")] == texts[1:]
    assert [line["request_text"] for line in await lines(just, "--since", "1h", "--count", "1")] == texts[3:]
    assert await lines(just, "--since", "2099-01-01T00:00:00Z") == []


async def test_every_shard_is_read_in_order_of_time(redis: Redis, just: Just, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSERVA_SHARDS", "2")
    for number in range(6):
        tag = Tag("sentiment", number % 2)
        await write(redis, tag.requests, Request(id=new_id(tag), text=str(number)), f"{1000 + number}-0")
    assert [line["request_text"] for line in await lines(just)] == list("012345")
    assert [line["request_text"] for line in await lines(just, "--count", "3")] == list("345")


async def test_many_pages_are_joined_completely(redis: Redis, just: Just) -> None:
    identities = [new_id() for _ in range(1300)]
    pipeline = redis.pipeline(transaction=False)
    for identity in identities:
        pipeline.xadd(TAG.requests, fields_of(Request(id=identity, text="a")))
    for identity in reversed(identities):
        pipeline.xadd(TAG.results, fields_of(answer(identity)))
    await pipeline.execute()
    found = await lines(just, "--count", "1200")
    assert [line["id"] for line in found] == identities[100:]
    assert {line["status"] for line in found} == {"ok"}


async def test_an_empty_log_has_no_lines(just: Just) -> None:
    assert await lines(just) == []


@asynccontextmanager
async def following() -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "log", "--follow"),
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def next_line(process: Process) -> dict[str, Any]:
    assert process.stdout
    found: dict[str, Any] = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
    return found


async def test_following_prints_a_line_when_the_answer_comes_and_another_when_the_truth_comes(redis: Redis) -> None:
    before, after = new_id(), new_id()
    await write(redis, TAG.requests, Request(id=before, text="before"))
    await write(redis, TAG.results, answer(before))
    async with following() as process:
        assert (await next_line(process))["id"] == before
        await write(redis, TAG.requests, Request(id=after, text="after"))
        await write(redis, TAG.results, answer(after))
        told = await next_line(process)
        assert (told["id"], told["true_sentiment"], "updated" in told) == (after, None, False)
        await write(redis, TAG.feedback, truth(after, "negative"))
        told = await next_line(process)
        assert (told["id"], told["true_sentiment"], told["updated"]) == (after, "negative", True)
        await write(redis, TAG.feedback, truth(after, "negative"))
        await write(redis, TAG.feedback, truth(before, "positive"))
        assert (await next_line(process))["id"] == before, "the same truth again is no news"
        process.send_signal(signal.SIGINT)
        assert (await asyncio.wait_for(process.communicate(), 20))[1] == b""
        assert process.returncode == 130


async def test_a_reader_that_has_enough_ends_the_command_quietly(redis: Redis) -> None:
    pipeline = redis.pipeline(transaction=False)
    for _ in range(2000):
        pipeline.xadd(TAG.requests, fields_of(Request(id=new_id(), text="a" * 200)))
    await pipeline.execute()
    command = f"{sys.executable} -m cli log --count 2000 | head -n 1; exit ${{PIPESTATUS[0]}}"
    process = await asyncio.create_subprocess_exec("bash", "-c", command, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    assert (len(out.splitlines()), err, process.returncode) == (1, b"", 0)


async def test_following_survives_a_restart_of_the_server(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBSERVA_REDIS_URL", own_server.url)
    async with Redis.from_url(own_server.url) as redis:
        identity = new_id()
        await write(redis, TAG.requests, Request(id=identity, text="before"))
        await write(redis, TAG.results, answer(identity))
    async with following() as process:
        assert (await next_line(process))["id"] == identity
        own_server.stop()
        own_server.start()
        async with Redis.from_url(own_server.url) as redis:
            await eventually(redis.ping, "the server is back")
            await write(redis, TAG.feedback, truth(identity, "negative"))
        assert (await next_line(process))["true_sentiment"] == "negative"


async def test_an_unreachable_log_is_one_line_that_says_what_to_do(just: Just, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSERVA_REDIS_URL", "redis://127.0.0.1:1/0")
    status, out, err = await asyncio.to_thread(just, "log")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "just up" in err


@pytest.mark.parametrize("text", ["yesterday", "10", "-5m", "2026-13-01"])
def test_a_time_that_cannot_be_read_is_a_usage_error(just: Just, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        just("log", f"--since={text}")
    assert error.value.code == 2
    assert "10m" in capsys.readouterr().err
