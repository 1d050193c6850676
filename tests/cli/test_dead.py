"""Dead letters on a real server, written by the log's own script."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from broker.events import Request
from broker.groups import ensure_groups
from broker.log import Log
from broker.settings import BrokerSettings
from broker.settlement import DeadNote, Settlement
from broker.streams import WORKERS, PredictionId, Tag
from cli.reading import newest, oldest
from tests.cli.commands import Just

TAG = Tag("sentiment")
SECRET = "what a caller confided"
pytestmark = pytest.mark.usefixtures("log_of_commands")


async def bury(redis: Redis, settings: BrokerSettings, *texts: str, tag: Tag = TAG) -> list[str]:
    """Accept, deliver and give up each text; return the ids of their dead letters, oldest first."""
    await ensure_groups(redis, tag)
    for text in texts:
        fields: Any = Request(id=str(PredictionId.new(tag)), text=text).to_fields()
        await redis.xadd(tag.requests, fields)
    found: Any = await redis.xreadgroup(WORKERS, "w", {tag.requests: ">"}, count=len(texts))
    note = DeadNote(reason="crashed", detail="the process ended", deliveries=3, worker="host-7")
    await Log(redis, settings).settle(
        tag,
        [
            Settlement(entry_id.decode(), request=Request.from_entry(tag, entry_id.decode(), fields), dead=note)
            for entry_id, fields in found[0][1]
        ],
    )
    return [entry_id for entry_id, _ in await oldest(redis, tag.dead)]


async def test_the_list_names_reason_deliveries_and_worker_and_never_the_text(
    redis: Redis, settings: BrokerSettings, just: Just
) -> None:
    ids = await bury(redis, settings, SECRET, SECRET)
    for command in (["dead"], ["dead", "list"], ["dead", "--model", "sentiment", "list"]):
        status, out, err = await asyncio.to_thread(just, *command)
        assert (status, err) == (0, "")
        head, *rows = out.splitlines()
        assert head.split() == ["ENTRY", "WHEN", "REASON", "DELIVERIES", "WORKER", "ID"]
        assert [row.split()[0] for row in rows] == ids
        assert "crashed" in rows[0]
        assert "host-7" in rows[0]
        assert SECRET not in out


async def test_a_list_cut_short_says_so(redis: Redis, settings: BrokerSettings, just: Just) -> None:
    ids = await bury(redis, settings, "a", "b", "c")
    _, out, err = await asyncio.to_thread(just, "dead", "list", "--count", "2")
    assert [row.split()[0] for row in out.splitlines()[1:]] == ids[1:]
    assert "2 of 3" in err


async def test_no_dead_letters_is_said_and_is_no_error(just: Just) -> None:
    status, out, err = await asyncio.to_thread(just, "dead")
    assert (status, out) == (0, "")
    assert "no dead letters" in err


async def test_show_prints_the_text_and_cannot_steer_the_terminal(
    redis: Redis, settings: BrokerSettings, just: Just
) -> None:
    [entry_id] = await bury(redis, settings, f"{SECRET}\x1b[2J\x9b31m")
    status, out, _ = await asyncio.to_thread(just, "dead", "show", entry_id)
    assert status == 0
    assert SECRET in out
    assert "the process ended" in out
    assert "\x1b" not in out
    assert "\x9b" not in out


async def test_redrive_puts_the_request_back_and_takes_the_letter_away(
    redis: Redis, settings: BrokerSettings, just: Just
) -> None:
    first, second = await bury(redis, settings, "a", "b")
    before = await redis.xlen(TAG.requests)
    status, out, _ = await asyncio.to_thread(just, "dead", "redrive", first)
    assert status == 0
    assert first in out
    [(_, fields)] = await newest(redis, TAG.requests, count=1)
    assert fields[b"text"] == b"a"
    assert await redis.xlen(TAG.requests) == before + 1
    assert [entry_id for entry_id, _ in await oldest(redis, TAG.dead)] == [second]


async def test_redrive_all_empties_the_letters_of_every_shard(
    redis: Redis, settings: BrokerSettings, just: Just, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBSERVA_SHARDS", "2")
    other = Tag("sentiment", 1)
    await bury(redis, settings, *"abc")
    [entry_id] = await bury(redis, settings, "d", tag=other)
    _, out, _ = await asyncio.to_thread(just, "dead")
    assert f"1/{entry_id}" in out
    assert (await asyncio.to_thread(just, "dead", "show", f"1/{entry_id}"))[0] == 0
    status, out, _ = await asyncio.to_thread(just, "dead", "redrive", "--all")
    assert (status, out) == (0, "4 sent again\n")
    assert await redis.xlen(TAG.dead) == await redis.xlen(other.dead) == 0


async def test_a_letter_whose_text_is_gone_stays_and_the_status_says_so(redis: Redis, just: Just) -> None:
    fields: Any = {
        "entry_id": "1-0",
        "reason": "malformed",
        "detail": "d",
        "deliveries": "1",
        "worker": "w",
        "entry": "{}",
    }
    await redis.xadd(TAG.dead, fields)
    [(entry_id, _)] = await oldest(redis, TAG.dead)
    status, out, _ = await asyncio.to_thread(just, "dead", "redrive", "--all")
    assert status == 1
    assert "1 could not be" in out
    assert await redis.xlen(TAG.dead) == 1
    status, out, _ = await asyncio.to_thread(just, "dead", "show", entry_id)
    assert (status, "gone" in out) == (0, True)


@pytest.mark.parametrize("command", [["show", "12-3"], ["redrive", "12-3"], ["show", "nonsense"], ["show", "9/12-3"]])
async def test_an_entry_that_is_not_there_is_one_line(just: Just, command: list[str]) -> None:
    status, out, err = await asyncio.to_thread(just, "dead", *command)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
