"""Entries that an older Observa wrote are still read: `samples` is what schema version 1 wrote, and never changes."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import httpx
import pytest

from broker.events import DeadLetter, Feedback, Request, Result
from broker.streams import WORKERS, Tag
from tests.live.ledger import Ledger
from tests.live.services import make_model
from tests.servers import wait_until

TAG = Tag("strange")
SAMPLES = Path(__file__).with_name("samples")
KINDS = {"requests": Request, "results": Result, "feedback": Feedback, "dead": DeadLetter}


def samples(stream: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((SAMPLES / f"{stream}.json").read_text())
    return found


@pytest.mark.parametrize("stream", ["results", "feedback", "dead"])
def test_every_event_of_the_first_schema_is_read_as_it_was_meant(stream):
    for fields in samples(stream):
        event = KINDS[stream].from_fields({name.encode(): value.encode() for name, value in fields.items()})
        assert event.to_fields() == fields


def test_old_requests_in_the_log_are_answered_by_this_worker(services, look):
    for fields in samples("requests"):
        look.xadd(TAG.requests, fields)
    services.worker()
    wait_until(lambda: look.xlen(TAG.results) == 6, "every readable request has a result")
    wait_until(lambda: look.xlen(TAG.dead) == 2, "the others are buried")
    results = [Result.from_fields(fields) for _, fields in look.xrange(TAG.results)]
    before = [Result.from_fields(_bytes(fields)) for fields in samples("results")]
    told = [(result.label, result.confidence, result.status, result.tags) for result in before]
    assert Counter(map(str, told)) == Counter(
        str((result.label, result.confidence, result.status, result.tags)) for result in results
    )
    assert {result.id for result in before} - {result.id for result in results} <= _derived(before)
    assert look.xpending(TAG.requests, WORKERS)["pending"] == 0
    assert look.xlen(TAG.feedback) == 1  # the true label that came along


def test_old_results_and_labels_in_the_log_are_counted_by_this_monitor(services, look):
    for stream in ("results", "feedback"):
        for fields in samples(stream):
            look.xadd(TAG.key(stream), fields)
    monitor = services.monitor()

    def report():
        return httpx.get(f"{monitor.url}/report/strange").json()

    wait_until(lambda: report()["versions"], "the monitor has read them")
    wait_until(lambda: sum(report()["feedback"]["outcomes"].values()) == 3, "the labels, too")
    assert sum(report()["versions"]["1"]["totals"].values()) == 6
    assert all(stream["unreadable"] == {} for stream in report()["streams"].values())


async def test_workers_replaced_one_by_one_leave_no_old_entry_behind(services, look):
    old = services.worker()
    for fields in samples("requests")[:5] * 20:
        look.xadd(TAG.requests, {name: value for name, value in fields.items() if name != "id"})
    new = await asyncio.to_thread(services.worker)
    assert await asyncio.to_thread(old.terminate) == 0
    await asyncio.to_thread(
        wait_until, lambda: look.xlen(TAG.results) == 100 and look.xinfo_groups(TAG.requests)[0]["lag"] == 0, "all done"
    )
    assert new.alive
    assert look.xpending(TAG.requests, WORKERS)["pending"] == 0


async def test_once_all_workers_have_a_new_version_no_answer_is_of_the_old_one(services, look, trial):
    gateway, old = services.gateway(wait=False), services.worker(wait=False)
    services.wait()
    gateway.wait("/readyz")
    async with Ledger([gateway.url], "strange", trial.seed) as ledger:
        load = asyncio.create_task(ledger.load(150, 25))
        make_model(services.models, "strange", version="2")
        await asyncio.to_thread(services.worker)
        assert await asyncio.to_thread(old.terminate) == 0
        ledger.version = "2"  # of whatever is sent from now on
        await load
        await ledger.load(20, 20)
        ledger.check(look)
    assert {answer["version"] for answer in ledger.answers.values()} == {"1", "2"}
    assert not ledger.refusals


def _bytes(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


def _derived(results: list[Result]) -> set[str]:
    """Return the ids that came from an entry's own id, which is new each time it is added."""
    written = {fields.get("id") for fields in samples("requests")}
    return {result.id for result in results if result.id not in written}
