"""More load than can be served: as much as possible is answered, the rest is told so at once."""

import asyncio
import time
from collections import Counter

from broker.streams import Tag
from tests.faults.fleet import cpu_s, resident_mb
from tests.faults.open_loop import Answer, OpenLoop, cheapest, quantile
from tests.servers import eventually

TEXT = "a text that takes its time"
ONE_QUESTION = "/v1/predictions/strange.0.01890a5d-ac96-774b-bcce-b302099a8057"  # to the log, of something unknown
QUEUE_S = 1.0  # that a text may queue, unless OBSERVA_GATEWAY_QUEUE_MS says otherwise


async def closed_loop(client: OpenLoop, seconds: float) -> float:
    """Return how many texts a second are answered to callers who wait for each answer."""
    end, statuses = time.monotonic() + seconds, Counter[int]()

    async def ask() -> None:
        while time.monotonic() < end:
            statuses[(await client.ask(f'{{"text":"good {TEXT}"}}')).status] += 1

    await asyncio.gather(*(ask() for _ in range(32)))
    assert set(statuses) == {200}, statuses
    return statuses[200] / seconds


async def test_load_beyond_capacity_is_refused_at_once_and_costs_no_goodput(services, look, trial):
    services.worker("tests.faults.slow_worker")  # less than 50 texts a second, far below what the gateway can refuse
    gateway = services.gateway()
    client = OpenLoop(gateway.port)
    most = await closed_loop(client, 3)
    before_mb, goodput, answers, floor = resident_mb(gateway), {}, {}, {}
    for factor in (1, 2, 5, 10) if trial.scale(0, 1) else (1, 10):
        start, used_s = time.monotonic(), cpu_s(gateway)
        async with cheapest(gateway.port, ONE_QUESTION) as floor[factor]:
            answers[factor] = await client.run(factor * most, trial.scale(5, 30), TEXT)
        good = [answer for answer in answers[factor] if answer.status == 200]
        goodput[factor] = len(good) / (time.monotonic() - start)
        trial.figure(
            load=factor, capacity=most, goodput=goodput[factor], **waits(answers[factor]),
            floor_p50_s=quantile(floor[factor], 0.5), floor_p99_s=quantile(floor[factor], 0.99),
            growth_mb=resident_mb(gateway) - before_mb, cpu_ms=(cpu_s(gateway) - used_s) * 1000 / len(answers[factor]),
        )  # fmt: skip
        await eventually(lambda: asyncio.to_thread(lambda: int(look.get(Tag("strange").backlog)) == 0), "drained")
    await client.close()
    everything = [answer for some in answers.values() for answer in some]
    statuses = Counter(answer.status for answer in everything)
    assert set(statuses) == {200, 503}, statuses
    refused = [answer for answer in everything if answer.status == 503]
    assert all(answer.retry_after for answer in refused)
    assert goodput[10] >= 0.9 * max(goodput.values())
    # On a machine that others use, whatever the cheapest answer takes is the machine's doing.
    for share in (0.5, 0.99):
        assert quantile(refused_s(answers[10]), share) < 0.05 + quantile(floor[10], share)
    assert quantile(accepted_s(answers[10]), 0.99) < 2 * max(quantile(accepted_s(answers[1]), 0.99), QUEUE_S)
    assert resident_mb(gateway) - before_mb < 50


def accepted_s(answers: list[Answer]) -> list[float]:
    return [answer.wait_s for answer in answers if answer.status == 200]


def refused_s(answers: list[Answer]) -> list[float]:
    return [answer.wait_s for answer in answers if answer.status == 503]


def waits(answers: list[Answer]) -> dict[str, object]:
    accepted, refused = accepted_s(answers), refused_s(answers)
    return {
        "accepted": len(accepted), "accepted_p99_s": quantile(accepted, 0.99),
        "refused": len(refused), "refused_p50_s": quantile(refused, 0.5), "refused_p99_s": quantile(refused, 0.99),
    }  # fmt: skip
