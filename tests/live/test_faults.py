"""What may happen to the processes, and that no accepted request is lost or answered twice by it."""

import asyncio
import random
import signal

import httpx
import pytest

from broker.events import DeadLetter, Result
from broker.streams import WORKERS, PredictionId, Tag
from tests.live.ledger import Ledger
from tests.live.services import make_model
from tests.servers import eventually, wait_until

TAG = Tag("strange")


def results(look):
    return [Result.from_fields(fields) for _, fields in look.xrange(TAG.results)]


def test_a_request_sent_before_the_first_worker_is_answered_by_it(services, look):
    gateway = services.gateway(ready=False)
    early = httpx.post(f"{gateway.url}/predict", json={"text": "good"}, headers={"Prefer": "respond-async"})
    assert early.status_code == 202
    look.xadd(TAG.requests, {"text": "bad, by hand"})
    services.worker()
    location = gateway.url + early.headers["Location"]
    wait_until(lambda: httpx.get(location).status_code == 200, "the early request is answered")
    assert httpx.get(location).json()["label"] == "positive"
    wait_until(lambda: len(results(look)) == 2, "the entry written by hand is answered, too")
    assert {result.label for result in results(look)} == {"positive", "negative"}


async def test_workers_killed_in_mid_batch_lose_nothing_and_repeat_nothing(services, look):
    gateway = services.gateway(ready=False)
    workers = [services.worker(), services.worker()]
    async with Ledger([gateway.url], "strange", seed=1) as ledger:
        load = asyncio.create_task(ledger.load(600, 60, "SLEEP-5"))
        for _ in range(4):
            await asyncio.sleep(1.5)
            victim = ledger.random.choice(workers)
            victim.kill()
            workers.remove(victim)
            workers.append(await asyncio.to_thread(services.worker))
        await load
        ledger.check(look)
    assert look.xpending(TAG.requests, WORKERS)["pending"] == 0
    assert max(ledger.waits_s) < 20


async def test_a_text_that_kills_its_worker_is_buried_and_its_neighbours_are_answered(services, look):
    gateway = services.gateway(ready=False)
    workers = [services.worker() for _ in range(2)]

    def replace_the_dead():
        for worker in [worker for worker in workers if not worker.alive]:
            workers.remove(worker)
            workers.append(services.worker(wait=False))

    async with Ledger([gateway.url], "strange", seed=2) as ledger, httpx.AsyncClient(timeout=60) as client:
        poison = asyncio.create_task(client.post(f"{gateway.url}/predict", json={"text": "KILL"}))
        load = asyncio.create_task(ledger.load(100, 20, "SLEEP-5"))
        while not (poison.done() and load.done()):
            await asyncio.to_thread(replace_the_dead)
            await asyncio.sleep(0.1)
        answer = poison.result()
        ledger.others.add(answer.json()["id"])
        ledger.check(look)
    assert answer.status_code == 502
    assert answer.json()["code"] == "inference_failed"
    [(_, fields)] = look.xrange(TAG.dead)
    letter = DeadLetter.from_fields(fields)
    assert (letter.reason, letter.deliveries, letter.id) == ("crashed", 3, answer.json()["id"])


def test_a_text_that_raises_fails_alone_and_can_be_sent_again(services, look):
    gateway = services.gateway(ready=False)
    services.worker()
    texts = [f"good {n}" for n in range(20)] + ["RAISE"] + [f"bad {n}" for n in range(20)]
    answer = httpx.post(f"{gateway.url}/predict", json={"texts": texts}, timeout=40).json()["predictions"]
    assert [item.get("label", "failed") for item in answer] == ["positive"] * 20 + ["failed"] + ["negative"] * 20
    assert answer[20]["error"] == {"code": "inference_failed", "status": 502}
    assert look.xlen(TAG.dead) == 1


async def test_a_stopped_worker_that_wakes_up_publishes_nothing_twice(services, look):
    gateway = services.gateway(ready=False)
    slow = services.worker()
    async with Ledger([gateway.url], "strange", seed=3) as ledger:
        first = [asyncio.create_task(ledger.send("SLEEP-300")) for _ in range(6)]
        await eventually(
            lambda: asyncio.to_thread(lambda: look.xpending(TAG.requests, WORKERS)["pending"] > 0), "a batch is held"
        )
        slow.signal(signal.SIGSTOP)
        await asyncio.to_thread(services.worker)
        await asyncio.gather(*first)
        slow.signal(signal.SIGCONT)
        await ledger.load(50, 50)
        ledger.check(look)
    assert slow.alive


async def test_a_slow_batch_is_not_taken_from_a_worker_that_lives(services, look):
    gateway = services.gateway(ready=False)
    services.worker()
    services.worker()
    async with httpx.AsyncClient(timeout=40) as client:
        answer = await client.post(f"{gateway.url}/predict", json={"text": "good SLEEP-4000"})
    assert answer.status_code == 200
    [result] = results(look)
    assert result.deliveries == 1


async def test_answers_of_a_killed_gateway_are_fetched_from_another(services, look):
    first, second = services.gateway(ready=False), services.gateway(ready=False)
    services.worker()
    async with Ledger([first.url], "strange", seed=4) as ledger:
        waiting = [asyncio.create_task(ledger.send("SLEEP-20")) for _ in range(100)]
        await eventually(lambda: asyncio.to_thread(lambda: look.xlen(TAG.requests) >= 50), "half of them are accepted")
        ledger.gateways = [second.url]
        first.kill()
        await asyncio.gather(*waiting)
        ledger.check(look)
    assert ledger.refusals["no answer"] > 0
    entries = [fields[b"id"] for _, fields in look.xrange(TAG.requests)]
    assert len(entries) == len(set(entries)) == 100


async def test_serving_goes_on_after_flushall(services, look):
    gateway = services.gateway(ready=False)
    services.worker()
    async with Ledger([gateway.url], "strange", seed=5) as ledger:
        load = asyncio.create_task(ledger.load(300, 50))
        await asyncio.sleep(2)
        await asyncio.to_thread(look.flushall)
        await load
    assert len(ledger.answers) == 300, dict(ledger.refusals)
    assert look.exists(TAG.born)


async def test_a_restarted_server_has_its_data_and_serving_goes_on(services, look):
    gateway = services.gateway(ready=False)
    services.worker()
    async with Ledger([gateway.url], "strange", seed=6) as ledger:
        load = asyncio.create_task(ledger.load(300, 50))
        await asyncio.sleep(2)
        await asyncio.to_thread(services.server.stop)
        await asyncio.sleep(1)
        await asyncio.to_thread(services.server.start)
        await load
        ledger.check(look)


async def test_a_deleted_stream_does_not_disturb_the_other_models(services, look):
    make_model(services.models, "other")
    gateway = services.gateway(ready=False)
    services.worker()
    async with Ledger([gateway.url], "strange", seed=7) as ledger, Ledger([gateway.url], "other", seed=8) as other:
        load = asyncio.create_task(ledger.load(200, 50))
        await asyncio.sleep(1)
        await asyncio.to_thread(look.delete, Tag("other").requests)
        await other.load(20, 20)
        await load
        ledger.check(look)
        other.check(look)
    assert not ledger.refusals


@pytest.mark.parametrize("seed", [11])
async def test_garbage_written_by_hand_is_buried_with_a_reason_and_blocks_nobody(services, look, seed):
    gateway = services.gateway(ready=False)
    services.worker()
    noise = random.Random(seed)
    garbage = [
        {"text": b"\xff\xfe"},
        {"nonsense": "x"},
        {f"field{n}": "x" for n in range(1000)},
        {"text": "x", "id": "not-an-id"},
        {"text": "x" * 20_000},
        {"text": "x", "deadline_ms": "soon"},
        {noise.randbytes(9): noise.randbytes(99)},
    ]
    for fields in garbage:
        look.xadd(TAG.requests, fields)
    async with Ledger([gateway.url], "strange", seed=seed) as ledger:
        await ledger.load(50, 100)
        ledger.check(look)
    wait_until(lambda: look.xlen(TAG.dead) == len(garbage), "all of it is buried")
    letters = [DeadLetter.from_fields(fields) for _, fields in look.xrange(TAG.dead)]
    assert {letter.reason for letter in letters} == {"malformed"}
    assert look.xpending(TAG.requests, WORKERS)["pending"] == 0


async def test_a_key_of_the_wrong_type_loses_nothing_and_serving_goes_on_once_it_is_gone(services, look):
    gateway = services.gateway(ready=False)
    services.worker()
    look.delete(TAG.results)
    look.set(TAG.results, "written by hand")
    async with Ledger([gateway.url], "strange", seed=9) as ledger:
        waiting = [asyncio.create_task(ledger.send()) for _ in range(20)]
        await asyncio.sleep(2)
        assert not ledger.answers
        look.delete(TAG.results)
        await asyncio.gather(*waiting)
        ledger.check(look)
    assert "just redis DEL" in services.logs()


def test_an_id_added_twice_is_answered_once(services, look):
    services.worker()
    ident = str(PredictionId.new(TAG))
    for _ in range(2):
        look.xadd(TAG.requests, {"id": ident, "text": "good"})
    wait_until(lambda: look.xpending(TAG.requests, WORKERS)["pending"] == 0 and results(look), "both are acknowledged")
    wait_until(lambda: look.xinfo_groups(TAG.requests)[0]["lag"] == 0, "both are read")
    assert [result.id for result in results(look)] == [ident]


async def test_a_worker_told_to_stop_finishes_what_it_holds(services, look):
    gateway = services.gateway(ready=False)
    services.worker()
    leaving = services.worker()
    async with Ledger([gateway.url], "strange", seed=10) as ledger:
        load = asyncio.create_task(ledger.load(200, 100, "SLEEP-5"))
        await asyncio.sleep(0.7)
        assert await asyncio.to_thread(leaving.terminate) == 0
        await load
        ledger.check(look)
    assert not ledger.refusals
    assert {result.deliveries for result in results(look)} == {1}
