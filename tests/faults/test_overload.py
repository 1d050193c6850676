"""More load than can be served: as much as possible is answered, the rest is told so at once."""

import asyncio
import time
from collections import Counter

from broker.streams import Tag
from tests.faults.fleet import resident_mb
from tests.faults.open_loop import Answer, OpenLoop, quantile
from tests.servers import eventually

TEXT = "a text that takes its time"
DEADLINE_S = 12


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
    services.worker("tests.faults.slow_worker")  # less than 50 texts a second
    gateway = services.gateway()
    client = OpenLoop(gateway.port, f"X-Deadline-Ms: {DEADLINE_S * 1000}\r\n")
    most = await closed_loop(client, 3)
    before_mb, goodput, answers = resident_mb(gateway), {}, {}
    for factor in (1, 2, 5, 10) if trial.scale(0, 1) else (1, 10):
        start = time.monotonic()
        answers[factor] = await client.run(factor * most, trial.scale(4, 30), TEXT)
        good = [answer for answer in answers[factor] if answer.status == 200]
        goodput[factor] = len(good) / (time.monotonic() - start)
        trial.figure(
            load=factor, capacity=most, goodput=goodput[factor], **waits(answers[factor]),
            growth_mb=resident_mb(gateway) - before_mb,
        )  # fmt: skip
        await eventually(lambda: asyncio.to_thread(lambda: int(look.get(Tag("strange").backlog)) == 0), "drained")
    client.close()
    everything = [answer for some in answers.values() for answer in some]
    statuses = Counter(answer.status for answer in everything)
    assert set(statuses) <= {200, 503, 504}, statuses
    assert statuses[504] <= 0.01 * len(everything)  # accepted, and then not answered in time
    refused = [answer for answer in everything if answer.status == 503]
    assert refused
    assert all(answer.retry_after for answer in refused)
    # In the short form client, gateway and worker share two cores with other tests: what fails there is broken.
    assert goodput[10] >= trial.scale(0.6, 0.9) * max(goodput.values())
    assert quantile([answer.wait_s for answer in refused], 0.5) < trial.scale(1, 0.05)
    assert resident_mb(gateway) - before_mb < trial.scale(100, 50)


def waits(answers: list[Answer]) -> dict[str, object]:
    accepted = [answer.wait_s for answer in answers if answer.status == 200]
    refused = [answer.wait_s for answer in answers if answer.status == 503]
    return {
        "accepted": len(accepted), "accepted_p99_s": quantile(accepted, 0.99),
        "refused": len(refused), "refused_p50_s": quantile(refused, 0.5), "refused_p99_s": quantile(refused, 0.99),
    }  # fmt: skip
