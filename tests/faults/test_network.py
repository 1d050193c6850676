"""The network loses replies, delays, or goes silent; clocks disagree."""

import asyncio
import gc
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from broker.streams import WORKERS, Tag
from tests.faults.fleet import measured
from tests.faults.proxy import Proxy
from tests.live.ledger import Ledger

TAG = Tag("strange")
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


async def test_replies_that_get_lost_repeat_no_answer_and_hardly_any_inference(services, look, trial):
    async with Proxy(services.server.port, trial.seed) as proxy, Ledger([], "strange", trial.seed) as ledger:
        through = {"OBSERVA_REDIS_URL": proxy.url}
        workers = [await asyncio.to_thread(services.worker, **through) for _ in range(2)]
        gateway = await asyncio.to_thread(services.gateway, **through)
        ledger.gateways = [gateway.url]
        inferred_before = sum(
            [await asyncio.to_thread(measured, worker, "observa_batch_size_sum") for worker in workers]
        )
        proxy.lose = 0.05
        await ledger.load(int(trial.scale(300, 5000)), 50)
        proxy.lose = 0.0
        ledger.check(look)
        inferred = sum([await asyncio.to_thread(measured, worker, "observa_batch_size_sum") for worker in workers])
        extra = (inferred - inferred_before) / len(ledger.sent) - 1
        trial.figure(
            sent=len(ledger.sent), lost_replies=proxy.lost, passed=proxy.passed, extra_inference=extra,
            p99=ledger.wait_s(), refusals=dict(ledger.refusals),
        )  # fmt: skip
    assert proxy.lost > 20
    assert extra <= 0.01


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of the client's own, cancelled in a connect
async def test_a_cancelled_caller_leaves_nobody_with_another_answer(services, look, trial):
    async with Proxy(services.server.port, trial.seed) as proxy, Ledger([], "strange", trial.seed) as ledger:
        await asyncio.to_thread(services.worker)
        gateway = await asyncio.to_thread(services.gateway, OBSERVA_REDIS_URL=proxy.url)
        ledger.gateways = [gateway.url]
        proxy.delay_s = 0.02
        chance, cancelled = random.Random(trial.seed), 0

        async def ask() -> None:
            nonlocal cancelled
            key = ledger.write()
            if chance.random() < 0.2:
                with suppress(TimeoutError):
                    async with asyncio.timeout(chance.uniform(0, 0.1)):
                        await ledger.insist(key)
                cancelled += key not in ledger.answers
            await ledger.insist(key)  # who went away comes back for the answer

        async def ask_again_and_again(times: int) -> None:
            for _ in range(times):
                await ask()

        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(ask_again_and_again(int(trial.scale(25, 500))))
        trial.figure(sent=len(ledger.sent), cancelled=cancelled, p99=ledger.wait_s(), refusals=dict(ledger.refusals))
        ledger.check(look)
    gc.collect()  # what it left open is not another test's
    assert cancelled > 0.02 * len(ledger.sent)
    assert "500" not in ledger.refusals


async def test_a_silent_connection_delays_and_loses_nothing(services, look, trial):
    async with Proxy(services.server.port, trial.seed) as proxy, Ledger([], "strange", trial.seed) as ledger:
        through = {"OBSERVA_REDIS_URL": proxy.url}
        for settings in ({}, through):
            await asyncio.to_thread(services.worker, **settings)
        gateways = [await asyncio.to_thread(services.gateway, **settings) for settings in ({}, through)]
        ledger.gateways = [gateway.url for gateway in gateways]
        load = asyncio.create_task(ledger.load(150, 30))
        await asyncio.sleep(1)
        proxy.hold()
        await asyncio.sleep(2)
        proxy.let_go()
        await asyncio.sleep(1)
        proxy.cut()
        await load
        trial.figure(sent=len(ledger.sent), p99=ledger.wait_s(), refusals=dict(ledger.refusals))
        ledger.check(look)
    assert look.xpending(TAG.requests, WORKERS)["pending"] == 0


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed: apt-get install libfaketime")
async def test_workers_whose_clocks_are_wrong_expire_nothing_early(services, look, trial):
    preload = ":".join(filter(None, [str(FAKETIME), os.environ.get("LD_PRELOAD", "")]))
    for skew in ("+10m", "-10m"):
        services.worker(LD_PRELOAD=preload, FAKETIME=skew, FAKETIME_DONT_FAKE_MONOTONIC="1")
    gateway = services.gateway()
    async with Ledger([gateway.url], "strange", trial.seed) as ledger:
        await ledger.load(90, 30)
        ledger.check(look)
    assert all(0 <= answer["timing_ms"]["queue"] < 10_000 for answer in ledger.answers.values())
