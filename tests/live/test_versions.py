"""Versions change under load: shadowed, tried on a share, promoted, rolled back, and every request answered once."""

import asyncio
from collections import Counter

import pytest

from broker.events import Request, Result
from broker.shadows import is_in_sample
from broker.streams import Tag, shadow_group
from cli.__main__ import main
from tests.live.services import Services
from tests.live.versions import MODEL, Load, make_store
from tests.servers import wait_until

TAG = Tag(MODEL)
SHARE = 0.3
SAMPLE = 0.5


@pytest.fixture
def versions(own_server, tmp_path_factory, monkeypatch):
    services = Services(own_server, tmp_path_factory.mktemp("versions"), claim_ms=1000, model=MODEL, worker_batch=8)
    make_store(services.models, "1", "2", "3")
    monkeypatch.setenv("OBSERVA_REDIS_URL", own_server.url)
    monkeypatch.setenv("OBSERVA_MODELS", str(services.models))
    monkeypatch.setattr("cli.promote.try_out", already_tried)  # tests of the verifier are elsewhere, and take seconds
    yield services
    services.stop()


async def already_tried(folder):
    assert folder.is_dir()


async def command(*arguments):
    assert await asyncio.to_thread(main, arguments) == 0, arguments


def results(look):
    return [Result.from_fields(fields) for _, fields in look.xrange(TAG.results)]


def shadow_is_done(look):
    groups = {group["name"].decode(): group for group in look.xinfo_groups(TAG.requests)}
    return groups[shadow_group("3")]["lag"] == groups[shadow_group("3")]["pending"] == 0


async def test_versions_change_under_load_and_each_request_gets_one_answer_of_one_version(versions, look):
    gateways = [versions.gateway(ready=False).url for _ in range(2)]
    for _ in range(2):
        versions.worker("worker")
    load, done = Load(gateways, per_second=120, seed=7), asyncio.Event()
    running = asyncio.create_task(load.run(done))
    await load.more(20)
    await command("shadow", MODEL, "3", str(SAMPLE))
    shadowed_from = look.xinfo_stream(TAG.requests)["last-generated-id"].decode()
    await command("canary", MODEL, "2", str(SHARE))
    await load.until("2")
    trial = load.answered[await load.more(300) :]
    await command("canary", MODEL, "--off")
    await load.until("1")
    await command("promote", MODEL, "2")
    await load.until("2")
    await load.more(60)
    await command("rollback", MODEL)
    await load.until("1")
    await load.more(60)
    done.set()
    await running
    wait_until(lambda: shadow_is_done(look), "the shadow has read everything")
    assert not load.refused
    check_answers(look, load)
    check_share(trial)
    check_shadow(look, shadowed_from)
    await command("shadow", MODEL, "3", "--off")
    assert [group["name"] for group in look.xinfo_groups(TAG.requests)] == [b"workers"]


def check_answers(look, load):
    """Each request has one result that is no shadow's, and answer and join row say the same."""
    published = {}
    for result in results(look):
        if result.role != "shadow":
            assert published.setdefault(result.id, result) is result, "answered twice"
            assert result.status == "ok"
    assert {one.id: one.version for one in load.answered} == {one.id: one.version for one in published.values()}
    assert {one.version for one in load.answered} == {"1", "2"}
    answers = {name: value for key in look.scan_iter("*:answers:*") for name, value in look.hgetall(key).items()}
    assert {name.decode() for name in answers} == published.keys()
    rows = [value for key in look.scan_iter("*:joins:*") for value in look.hvals(key)]
    assert len(rows) == len(published)
    for stored in (*answers.values(), *rows):
        assert b'"3"' not in stored, "the shadow's version"


def check_share(trial):
    """The canary's share is what was asked for, and a subject never sees two versions."""
    seen = {}
    for one in trial:
        seen.setdefault(one.subject or one.id, set()).add(one.version)
    assert all(len(found) == 1 for found in seen.values())
    counted = Counter(next(iter(found)) for found in seen.values())
    spread = (SHARE * (1 - SHARE) / counted.total()) ** 0.5
    assert abs(counted["2"] / counted.total() - SHARE) < 4.5 * spread, counted


def check_shadow(look, since):
    """The shadow said of every sampled text once what it says, and of no other."""
    sent = [
        Request.from_entry(TAG, name.decode(), fields).id for name, fields in look.xrange(TAG.requests, f"({since}")
    ]
    expected = {one for one in sent if is_in_sample(one, SAMPLE)}
    shadows = [result for result in results(look) if result.role == "shadow"]
    said = Counter(result.id for result in shadows)
    assert {result.version for result in shadows} == {"3"}
    assert set(said.values()) == {1}
    assert expected <= said.keys()
    assert all(is_in_sample(one, SAMPLE) for one in said)
    assert len(expected) > 100
