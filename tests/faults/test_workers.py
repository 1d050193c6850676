"""Workers die: at random, and at each point between reading and answering."""

import asyncio
import random
import time

import pytest
from redis import Redis

from broker.streams import WORKERS, Tag
from tests.faults.dying_worker import POINTS
from tests.faults.fleet import Keeper, kills
from tests.live.ledger import Ledger
from tests.servers import eventually

GOOD, BAD = "a wonderful, brilliant and moving film", "a boring, awful and stupid waste"
CLAIM_S = 1.0
# A worker that dies of itself right after an inference looks exactly like one that died of its text.
LIKE_ITS_TEXT = {"after_inference": {"OBSERVA_MAX_DELIVERIES": 50}}
# Of hundreds of kills, two may meet the same text while it is run alone: one in 1016 kills did. On a busy machine,
# where each worker lives for a text or two, one of nine did.
MAY_BE_CONDEMNED = 2


async def capacity(ledger: Ledger, seconds: float, callers: int = 32) -> float:
    """Return how many texts a second are answered to callers who ask again as soon as they have an answer."""
    end = time.monotonic() + seconds

    async def ask() -> None:
        while time.monotonic() < end:
            await ledger.send()

    before = len(ledger.answers)
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(ask())
    return (len(ledger.answers) - before) / seconds


async def settled(look: Redis, model: str) -> None:
    """Wait until no entry is in hand: its caller may have been told at the deadline, before it has its end."""

    async def none_pending() -> bool:
        found = await asyncio.to_thread(look.xpending, Tag(model).requests, WORKERS)
        return found["pending"] == 0

    await eventually(none_pending, "every entry is settled")


@pytest.mark.parametrize(
    "case", [("sentiment-linear", 4, 2, (15, 60)), ("sentiment", 2, 10, (0, 60))], ids=lambda case: case[0]
)
async def test_workers_killed_at_random_lose_nothing_and_repeat_nothing(services, look, trial, case):
    model, workers, every_s, seconds = case
    if not trial.scale(seconds[0], 1):
        pytest.skip("only in the long form: just faults")
    services.ship(model)
    settings = {"OBSERVA_WORKER_MODELS": model}
    fleet = [services.worker("worker", wait=False, **settings) for _ in range(workers)]
    for worker in fleet:
        worker.wait("/healthz")
    gateway = services.gateway(OBSERVA_MODEL=model)
    async with Ledger([gateway.url], model, trial.seed, good=GOOD, bad=BAD) as ledger:
        most = await capacity(ledger, 3)
        ledger.waits_s.clear()
        rate = 0.3 * most
        async with kills(fleet, every_s, trial.seed) as keeper:
            await ledger.load(int(rate * trial.scale(*seconds)), rate)
        await settled(look, model)
        trial.figure(
            capacity=most, rate=rate, sent=len(ledger.sent), kills=keeper.restarts, p50=ledger.wait_s(0.5),
            p99=ledger.wait_s(), faults=ledger.judge(look).faults, refusals=dict(ledger.refusals),
        )  # fmt: skip
        ledger.check(look)
    assert keeper.restarts >= 1
    assert ledger.wait_s() < CLAIM_S + 2 + (
        0 if trial.scale(0, 1) else 3
    )  # the short form runs on machines of two cores


@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_killed_at_any_point_leaves_results_equal_to_requests(services, look, trial, point):
    wanted = int(trial.scale(5, 200))
    gateway = services.gateway(ready=False)
    chance, settings = random.Random(trial.seed), LIKE_ITS_TEXT.get(point, {})
    workers = [
        services.worker(
            "tests.faults.dying_worker",
            wait=False,
            OBSERVA_TEST_DIE_AT=point,
            OBSERVA_TEST_DIE_AFTER=chance.randint(1, 12),
            **settings,
        )
        for _ in range(2)
    ]
    enough = asyncio.Event()
    async with Ledger([gateway.url], "strange", trial.seed) as ledger, Keeper(workers) as keeper:

        async def killed_often() -> bool:
            return keeper.restarts >= wanted

        load = asyncio.create_task(ledger.load_until(enough, 30))
        await eventually(killed_often, f"{wanted} kills", 60 + 10 * wanted)
        steady = await asyncio.to_thread(services.worker, **settings)
        enough.set()
        await load
        await settled(look, "strange")
        trial.figure(kills=keeper.restarts, sent=len(ledger.sent), p99=ledger.wait_s(), verdict=str(ledger.judge(look)))
        ledger.check(look, may_be_buried=int(trial.scale(1, MAY_BE_CONDEMNED)))
    assert steady.alive
