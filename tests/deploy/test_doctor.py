"""What the doctor says of each thing that can be wrong, and the command it names."""

import shutil

import pytest
from redis.asyncio import Redis

from broker.announcements import Announcement, announce
from broker.groups import ensure_groups
from broker.inspection import consumers, group_states
from broker.janitor import keep_house
from broker.settings import BrokerSettings
from broker.streams import WORKERS, PredictionId, Tag
from deploy.local.doctor_keys import examine_files, examine_models, losses, overdue, wrong_keys
from deploy.local.doctor_log import examine_log
from deploy.local.doctor_monitor import watched
from deploy.local.settings import ROOT, StackSettings

TAG = Tag("sentiment")


@pytest.mark.parametrize("name", ["requests", "results", "feedback", "dead", "alerts", "monitor", "backlog", "born"])
async def test_a_key_that_somebody_else_wrote_is_named_with_the_way_out(redis: Redis, server, name):
    key = TAG.key(name)
    await redis.zadd(key, {"x": 1})
    (finding,) = await wrong_keys(redis, TAG)
    assert finding.level == "bad"
    assert f"just redis DEL '{key}'" in finding.next_command
    found = await examine_log(StackSettings(redis_url=server.url))
    assert finding in found


@pytest.mark.parametrize(
    ("option", "value", "level", "said"),
    [
        ("appendfsync", "everysec", "ok", "keeps everything"),
        ("appendfsync", "no", "warn", "CONFIG SET appendfsync everysec"),
        ("maxmemory-policy", "allkeys-lru", "bad", "CONFIG SET maxmemory-policy noeviction"),
        ("appendonly", "no", "bad", "CONFIG SET appendonly yes"),
    ],
)
async def test_a_server_that_was_configured_anew_is_told_as_it_is(own_server, option, value, level, said):
    async with Redis(port=own_server.port) as redis:
        await redis.config_set(option, value)
    findings = await examine_log(StackSettings(redis_url=own_server.url))
    [about] = [one for one in findings if one.what.startswith("server:")]
    assert about.level == level
    assert said in str(about)
    assert ("keeps everything" in str(about)) == (level == "ok")


async def test_entries_that_were_lost_are_counted(redis: Redis):
    await redis.hset(TAG.gaps, mapping={"results/monitor": 12, "requests/workers": 3})
    results, requests = await losses(redis, TAG)
    assert "12 entries were trimmed before results/monitor" in results.what
    assert results.next_command == "docs/runbooks/LogGap.md"
    assert "3 entries were deleted, or the group was moved past them, before requests/workers" in requests.what
    assert requests.next_command == "docs/runbooks/RequestsLost.md"


async def test_what_another_program_reads_under_a_name_of_bytes_stops_nobody(redis: Redis, server):
    settings = BrokerSettings(redis_url=server.url)
    await ensure_groups(redis, TAG)
    await redis.xgroup_create(TAG.requests, b"\xff", id="0")
    await redis.xgroup_createconsumer(TAG.requests, WORKERS, b"\xff")
    await redis.hset(TAG.gaps, mapping={b"requests/\xff": 3, "results/monitor": "x"})
    assert await keep_house(redis, settings, TAG, "worker")
    assert [state.group for state in await group_states(redis, TAG)] == [WORKERS]
    assert [one["name"] for one in await consumers(redis, TAG.requests, WORKERS)] == ["\\xff"]
    assert await losses(redis, TAG) == []


async def test_requests_that_were_passed_over_and_answered_are_told_once(redis: Redis, server):
    seconds, _ = await redis.time()
    await redis.hset(TAG.unanswered, mapping={"requests": 19, "last_s": int(seconds)})
    for lost, told in ((19, ["19 were accepted"]), (22, ["3 entries were deleted", "19 were accepted"])):
        await redis.hset(TAG.gaps, "requests/workers", lost)
        findings = [*await losses(redis, TAG), *await overdue(redis, TAG, StackSettings(redis_url=server.url))]
        assert [part in one.what for part, one in zip(told, findings, strict=True)] == [True] * len(told)


async def test_a_request_of_a_newer_schema_asks_for_an_update(redis: Redis):
    await ensure_groups(redis, TAG)
    await redis.xadd(TAG.requests, {"schema_version": 2, "text": "a"})
    await redis.xreadgroup(WORKERS, "w", {TAG.requests: ">"})
    (finding,) = await losses(redis, TAG)
    assert "newer Observa" in finding.what
    assert "just up" in finding.next_command


async def test_a_version_that_a_worker_refuses_is_named_with_the_reason(redis: Redis, server):
    seconds, _ = await redis.time()
    said = Announcement(
        worker="w",
        live="1",
        versions={},
        texts_per_second=10,
        seen_ms=1000 * int(seconds),
        refused={"2": "model.onnx is\ndamaged"},
    )
    await announce(redis, "sentiment", said)
    (finding,) = [one for one in await examine_log(StackSettings(redis_url=server.url)) if "refused" in one.what]
    assert str(finding) == (
        "bad  sentiment 2: wanted, and refused by 1 of 1 workers: model.onnx is damaged  ->  just models sentiment"
    )


async def test_a_lost_group_is_seen(redis: Redis):
    await redis.xadd(TAG.requests, {"text": "a"})
    (finding,) = await losses(redis, TAG)
    assert "group workers" in finding.what


async def test_what_is_late_without_an_answer_and_what_nobody_had_is_said_with_a_command(redis: Redis, server):
    settings = StackSettings(redis_url=server.url)
    assert await overdue(redis, TAG, settings) == []
    seconds, _ = await redis.time()
    now_ms = 1000 * int(seconds)
    for due_ms in (now_ms - 60_000, now_ms + 60_000):
        await redis.hset(TAG.waiting, PredictionId.new(TAG).uuid, f"{due_ms} 1-0")
    await redis.hset(TAG.unanswered, mapping={"requests": 19, "last_s": int(seconds) - 130})
    late, lost = await overdue(redis, TAG, settings)
    assert (late.level, late.next_command) == ("bad", "just logs worker")
    assert "1 are past their deadline" in late.what
    assert "19 were accepted and no reader had them" in lost.what
    assert "2 min ago" in lost.what
    assert "XINFO GROUPS" in lost.next_command
    await redis.delete(TAG.waiting)
    await redis.hset(TAG.unanswered, "last_s", int(seconds) - 90_000)
    assert await overdue(redis, TAG, settings) == []


@pytest.mark.parametrize(
    ("info", "word"),
    [
        ({"role": "slave"}, "OBSERVA_REDIS_URL"),
        ({"aof_last_bgrewrite_status": "err"}, "just logs redis"),
        ({"loading": 1}, "just doctor"),
        ({"rejected_connections": 3}, "CLIENT LIST"),
    ],
)
def test_what_the_server_says_of_itself_is_passed_on_with_a_command(info, word):
    (finding,) = examine_files(info)
    assert word in finding.next_command


def test_a_damaged_model_is_named(tmp_path):
    shutil.copytree(ROOT / "models" / "sentiment-linear", tmp_path / "models" / "sentiment-linear")
    settings = StackSettings(models=tmp_path / "models")
    (finding,) = examine_models(settings)
    assert finding.level == "ok"
    with (tmp_path / "models" / "sentiment-linear" / "1" / "vocabulary.txt").open("a") as file:
        file.write("x")
    (finding,) = examine_models(settings)
    assert finding.level == "bad"
    assert "sha256 differs" in finding.what
    (finding,) = examine_models(StackSettings(models=tmp_path))
    assert "OBSERVA_MODELS" in finding.next_command


def test_what_the_monitor_cannot_judge_or_count_is_said_with_a_command():
    put_aside = {"unreadable": {"failed": 2}, "put_aside": [{"entry": "7-0", "reason": "failed"}]}
    report = {
        "model": "sentiment",
        "versions": {"1": {"unwatched": None}, "2": {"unwatched": "detectors"}},
        "streams": {"results": put_aside, "feedback": {"unreadable": {}, "put_aside": []}},
        "monitor": {"trouble": {"sentiment.0": "the snapshot is damaged"}},
    }
    trouble, drift, aside = watched(report)
    assert (trouble.level, drift.level, aside.level) == ("bad", "warn", "warn")
    assert "sentiment.0 is not judged now: the snapshot is damaged" in trouble.what
    assert "sentiment 2 is counted without drift: no detectors" in drift.what
    assert drift.next_command == "just verify-model models/sentiment/2"
    assert "sentiment results do not count: 2 failed, the newest 7-0" in aside.what
    assert (ROOT / aside.next_command).is_file()
