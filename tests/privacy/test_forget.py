"""Erasing one prediction, or one subject, from a log that is in use."""

import asyncio
import json
from contextlib import suppress

import pytest
from redis.asyncio import Redis

from broker import forgetting
from broker.events import Explained, ExplainRequest, Request
from broker.explanations import Explanations
from broker.forgetting import forget, ids_of_subject
from broker.groups import ensure_groups
from broker.janitor import keep_house
from broker.log import Idempotency, Log, Unit
from broker.settings import BrokerSettings
from broker.settlement import DeadNote, Settlement
from broker.streams import ARCHIVE, EXPLAINERS, MONITOR, WORKERS, PredictionId, Tag
from cli.__main__ import main
from tests.privacy.log_of_texts import SECRET, TAG, accept, answered, everything, lag, read, request
from tests.servers import eventually

GIVEN_UP = DeadNote("inference_failed", "1 raised ValueError", 1, "w")


@pytest.fixture
async def log(redis: Redis, settings) -> Log:
    await ensure_groups(redis, TAG)
    return Log(redis, settings)


async def settle_all(log: Log, redis: Redis, dead: DeadNote | None = None) -> None:
    await log.settle(TAG, [answered(entry, dead) for entry in await read(redis)])


async def explain(redis: Redis, settings: BrokerSettings, wanted: str, *, done: bool) -> None:
    """Ask for an explanation; with *done*, play the explainer, too."""
    explanations = Explanations(redis, settings)
    await explanations.ensure_group(TAG)
    await explanations.announce(TAG, "e")
    assert await explanations.ask(TAG, ExplainRequest(id=wanted, text=SECRET, version="1")) == "accepted"
    if done:
        [(_, [(entry, _)])] = await redis.xreadgroup(EXPLAINERS, "e", {TAG.explain: ">"}, count=1)
        event = Explained(id=wanted, version="1", status="done")
        assert await explanations.finish(TAG, entry.decode(), event, {"status": "done", "words": [SECRET]})


async def replay(redis: Redis, requests: list[Request], tag: Tag = TAG) -> None:
    for each in requests:
        await redis.xadd(tag.key("replay:run"), {"schema_version": 1, "id": each.id, "label": "positive"})


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("identity", ["abc", "other.0.019ead29-f1a6-7893-a0ab-4a99c1ad3311"])
async def test_a_request_whose_id_was_made_up_is_forgotten_with_its_subject(redis, identity):
    for subject in ("alice", "bob"):
        entry = await redis.xadd(TAG.requests, {"id": identity, "text": SECRET, "subject": subject})
        await redis.xadd(TAG.dead, {"id": identity, "entry_id": entry, "entry": json.dumps(["subject", subject])})
    await redis.xadd(TAG.dead, {"id": identity, "entry_id": "x", "entry": json.dumps(["subject", "alice"])})
    for entry, _ in await read(redis):
        await redis.xack(TAG.requests, WORKERS, entry)
    forgotten = await forget(redis, [TAG], await ids_of_subject(redis, [TAG], "alice"), wait_s=1)
    assert not forgotten.waiting
    [(_, left)] = [one for one in await redis.xrange(TAG.requests) if b"subject" in one[1]]
    assert left[b"subject"] == b"bob"
    [(_, letter)] = [one for one in await redis.xrange(TAG.dead) if b"entry" in one[1]]
    assert "bob" in letter[b"entry"].decode()


async def test_nothing_of_a_forgotten_subject_is_left_and_nothing_of_others_is_touched(log, redis, settings):
    hers = [request(subject="alice", reply_to="gateway") for _ in range(3)]
    his = [request("of bob", subject="bob", reply_to="gateway") for _ in range(3)]
    for mine, other in zip(hers, his, strict=True):
        unit = Unit((mine,), Idempotency(mine.id[-32:], "digest of the body"))
        await log.accept(TAG, [unit, Unit((other,))], backlog_limit=100)
    await settle_all(log, redis, GIVEN_UP)
    for each in [*hers, *his]:
        assert await log.feedback(PredictionId.parse(each.id), "negative") == "accepted"
    await explain(redis, settings, hers[0].id, done=True)
    await explain(redis, settings, hers[1].id, done=False)
    await replay(redis, [*hers, *his])
    assert await ids_of_subject(redis, [TAG], "alice") == {each.id for each in hers}
    forgotten = await forget(redis, [TAG], {each.id for each in hers}, wait_s=5)
    assert not forgotten.waiting
    assert forgotten.erased == {
        "requests": 3,
        "results": 3,
        "feedback": 3,
        "dead": 3,
        "answers": 3,
        "joins": 3,
        "idempotency keys": 3,
        "explanations": 4,  # one done and its entry, one waiting and its text
        "replies": 3,
        "replay": 3,
    }
    held = await everything(redis)
    assert SECRET not in held
    assert "alice" not in held
    assert not any(each.id in held or each.id[-36:] in held for each in hers)
    assert all(held.count(each.id) >= 4 for each in his)
    assert await lag(redis) == 0


async def test_a_request_that_is_still_worked_on_is_forgotten_once_it_is_answered(log, redis):
    mine = request(subject="alice")
    await accept(log, mine, request("after"))
    (entry, _) = await read(redis)
    forgetting = asyncio.create_task(forget(redis, [TAG], {mine.id}, wait_s=20))
    await asyncio.sleep(0)
    assert await redis.xlen(TAG.requests) == 2
    await log.settle(TAG, [answered(entry)])
    forgotten = await forgetting
    assert not forgotten.waiting
    assert mine.id not in await everything(redis)


@pytest.mark.parametrize("delivered", [0, 1])
async def test_what_a_reader_has_not_finished_is_told_and_erased_only_on_demand(log, redis, delivered):
    mine = request(subject="alice")
    await accept(log, mine, request("after"))
    if delivered:
        await read(redis, 1)
    forgotten = await forget(redis, [TAG], {mine.id}, wait_s=0)
    assert forgotten.waiting == {TAG.requests: 1}
    assert not forgotten.erased  # its caller gets an answer
    assert mine.id in await everything(redis)
    forgotten = await forget(redis, [TAG], {mine.id}, wait_s=0, now=True)
    assert not forgotten.waiting
    assert mine.id not in await everything(redis)


@pytest.mark.parametrize("delivered", range(4))
@pytest.mark.parametrize("position", range(3))
async def test_what_is_erased_on_demand_is_not_lost_and_nothing_is_published_of_it(
    log, redis, settings, delivered, position
):
    sent = [request(f"number {n}") for n in range(3)]
    await accept(log, *sent)
    entries = await read(redis, delivered) if delivered else []
    assert not (await forget(redis, [TAG], {sent[position].id}, wait_s=0, now=True)).waiting
    await keep_house(redis, settings, TAG, "w")
    assert await redis.get(TAG.backlog) == b"2"
    await log.settle(TAG, [answered(entry) for entry in entries])
    await accept(log, request("one more"))
    await settle_all(log, redis)
    await keep_house(redis, settings, TAG, "w")
    assert sent[position].id not in await everything(redis)
    assert await redis.xlen(TAG.results) == 3
    assert not await redis.hgetall(TAG.gaps)
    assert (await redis.get(TAG.backlog), await lag(redis)) == (b"0", 0)


@pytest.mark.parametrize("position", range(4))
async def test_the_lag_stays_known_wherever_the_erased_entry_stands(log, redis, position):
    requests = [request(f"number {n}") for n in range(4)]
    await accept(log, *requests)
    await settle_all(log, redis)
    await forget(redis, [TAG], {requests[position].id}, wait_s=5)
    assert await lag(redis) == 0
    await accept(log, request("one more"))
    assert await lag(redis) == 1
    assert len(await read(redis)) == 1
    assert await lag(redis) == 0
    assert (await redis.xpending(TAG.requests, WORKERS))["pending"] == 1


async def test_a_monitor_that_stands_on_the_erased_result_is_waited_for(log, redis):
    mine = request()
    await accept(log, mine)
    await settle_all(log, redis)
    await redis.xgroup_create(TAG.results, MONITOR, id="$", entries_read=1)

    async def monitor_reads_on():
        while True:
            stream = await redis.xinfo_stream(TAG.results)
            await redis.xgroup_setid(
                TAG.results, MONITOR, stream["last-generated-id"], entries_read=stream["entries-added"]
            )
            await asyncio.sleep(0.05)

    reading = asyncio.create_task(monitor_reads_on())
    forgotten = await forget(redis, [TAG], {mine.id}, wait_s=10)
    reading.cancel()
    assert forgotten.erased["results"] == 1
    assert mine.id not in await everything(redis)
    assert [group["lag"] for group in await redis.xinfo_groups(TAG.results)] == [0]


async def test_an_archiver_that_is_waited_for_is_told_to_write_what_it_has(log, redis):
    mine = request()
    await accept(log, mine, request("after"))
    await settle_all(log, redis)
    await redis.xgroup_create(TAG.requests, ARCHIVE, id="0")
    forgetting = asyncio.create_task(forget(redis, [TAG], {mine.id}, wait_s=60))
    await eventually(lambda: redis.exists(TAG.flush), "it is told")
    await redis.xgroup_setid(TAG.requests, ARCHIVE, "$")
    assert not (await forgetting).waiting
    assert mine.id not in await everything(redis)


async def test_a_label_for_a_forgotten_prediction_finds_nothing(log, redis):
    mine = request()
    await accept(log, mine)
    await settle_all(log, redis)
    await forget(redis, [TAG], {mine.id}, wait_s=5)
    assert await log.feedback(PredictionId.parse(mine.id), "negative") == "unknown"
    assert mine.id not in await everything(redis)


async def test_a_label_that_comes_while_its_prediction_is_forgotten_goes_too(log, redis, monkeypatch):
    mine = request()
    await accept(log, mine)
    await settle_all(log, redis)
    erase_fields, came = forgetting._OneTag._erase_fields, []

    async def labelled_first(self, held):  # after the feedback was looked through, before the join row is gone
        if not came:
            came.append(await log.feedback(PredictionId.parse(mine.id), "negative"))
        await erase_fields(self, held)

    monkeypatch.setattr(forgetting._OneTag, "_erase_fields", labelled_first)
    forgotten = await forget(redis, [TAG], {mine.id}, wait_s=5)
    assert came == ["accepted"]
    assert forgotten.erased["feedback"] == 1
    assert mine.id not in await everything(redis)


async def test_a_result_that_is_still_read_is_found_by_its_subject_again(log, redis):
    mine = request(subject="alice")
    await accept(log, mine)
    await settle_all(log, redis)
    await redis.xgroup_create(TAG.results, MONITOR, id="0")
    forgotten = await forget(redis, [TAG], {mine.id}, wait_s=0)
    assert forgotten.waiting == {TAG.results: 1}
    assert await ids_of_subject(redis, [TAG], "alice") == {mine.id}
    await redis.xgroup_destroy(TAG.results, MONITOR)
    forgotten = await forget(redis, [TAG], {mine.id}, wait_s=5)
    assert not forgotten.waiting
    assert mine.id not in await everything(redis)


async def test_a_subject_is_forgotten_in_every_model_and_shard_and_a_second_run_finds_nothing(
    server, redis, settings, monkeypatch, capsys
):
    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
    tags = [TAG, Tag("sentiment", 2), Tag("no-longer-served")]
    log = Log(redis, settings)
    for tag in tags:
        await ensure_groups(redis, tag)
        for subject in ("alice", "bob"):
            sent = Request(id=str(PredictionId.new(tag)), text=f"{SECRET} {subject}", subject=subject)
            await log.accept(tag, [Unit((sent,))], backlog_limit=10)
        found = await redis.xreadgroup(WORKERS, "w", {tag.requests: ">"})
        await log.settle(tag, [Settlement(entry.decode()) for _, entries in found for entry, _ in entries])
    assert await asyncio.to_thread(main, ["forget", "alice", "--model", "sentiment"]) == 0
    assert "Of 2 predictions:" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["forget", "alice"]) == 0
    assert "Of 1 prediction:" in capsys.readouterr().out
    held = await everything(redis)
    assert "alice" not in held
    assert held.count(f"{SECRET} bob") == 3
    assert await asyncio.to_thread(main, ["forget", "alice"]) == 2
    assert "holds nothing that alice sent" in capsys.readouterr().err


async def test_the_newest_line_of_the_log_is_the_newest_request_that_is_left(server, log, redis, monkeypatch, capsys):
    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
    first, last = request("stays"), request("goes")
    await accept(log, first, last)
    await settle_all(log, redis)
    await forget(redis, [TAG], {last.id}, wait_s=5)
    assert await asyncio.to_thread(main, ["log", "--count", "1"]) == 0
    assert "stays" in capsys.readouterr().out


async def test_the_command_says_what_it_erased_and_rewrites_the_append_only_file(own_server, monkeypatch, capsys):
    monkeypatch.setenv("OBSERVA_REDIS_URL", own_server.url)
    own = Redis(port=own_server.port)
    await own.config_set("stream-node-max-entries", 1)  # else Redis keeps the bytes until their neighbours go, too
    await ensure_groups(own, TAG)
    log = Log(own, BrokerSettings(redis_url=own_server.url))
    mine = request(subject="alice", true_label="positive")
    await accept(log, mine)
    await settle_all(log, own)
    appended = own_server.folder / "appendonlydir"
    assert SECRET.encode() in b"".join(file.read_bytes() for file in appended.iterdir())
    assert await asyncio.to_thread(main, ["forget", "alice"]) == 0
    out = capsys.readouterr().out
    assert "Of 1 prediction:" in out
    assert "1 erased from requests" in out
    assert SECRET not in out

    async def rewritten():
        with suppress(FileNotFoundError):  # a file that the server removes meanwhile
            return SECRET.encode() not in b"".join(file.read_bytes() for file in appended.iterdir())
        return False

    await eventually(rewritten, "the append-only file is rewritten and holds the text no more")
    await own.aclose()


@pytest.mark.parametrize("who", ["nobody", "sentiment.0.01890a5d-ac96-774b-bcce-b302099a8057"])
async def test_who_sent_nothing_is_told_or_has_nothing_erased(server, monkeypatch, capsys, who):
    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
    status = await asyncio.to_thread(main, ["forget", who])
    said = capsys.readouterr()
    if who == "nobody":
        assert status == 2
        assert "holds nothing that nobody sent" in said.err
    else:
        assert status == 0
        assert "erased from" not in said.out
        assert "nothing was found" in said.out
