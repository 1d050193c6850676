"""Primaries are killed, or stand still and wake up, while callers send: what was accepted is answered and counted."""

import asyncio
import signal
import time
from contextlib import suppress
from functools import partial
from statistics import median_low

import httpx

from broker.streams import PredictionId, Tag, entry_time_ms
from tests.ha.conftest import MODEL, counted
from tests.live.ledger import Ledger
from tests.live.services import Process
from tests.servers import eventually

AGAIN_S = 10  # until a text is answered again, of most; one may meet a machine that does something else
TAGS = [Tag(MODEL, shard) for shard in range(4)]


class Callers:
    """Callers who do not wait: they note each id that was accepted, and fetch its answer later."""

    def __init__(self, gateway: Process, client: httpx.AsyncClient) -> None:
        self.ids: list[str] = []
        self.refused = 0
        self._gateway = gateway
        self._client = client

    async def send_until(self, done: asyncio.Event, per_second: float) -> None:
        async with asyncio.TaskGroup() as group:
            while not done.is_set():
                group.create_task(self._send())
                await asyncio.sleep(1 / per_second)

    async def unanswered(self) -> list[str]:
        """Return the accepted ids that have no prediction."""
        states = [await self._client.get(f"{self._gateway.url}/v1/predictions/{one}") for one in self.ids]
        return [one for one, state in zip(self.ids, states, strict=True) if state.status_code != 200]

    async def _send(self) -> None:
        with suppress(httpx.HTTPError):
            url = f"{self._gateway.url}/v1/models/{MODEL}/predict"
            sent = await self._client.post(url, json={"text": "good"}, headers={"Prefer": "respond-async"})
            if sent.status_code == 202:
                self.ids += [sent.json()["id"]]
            else:
                assert sent.status_code == 503, sent.text
                self.refused += 1


def served_again_s(look, since_ms: int) -> float:
    """Return after how many seconds every shard had answered a text that came later, by the servers' clock.

    The callers' own clock would measure this process, too, which is the slowest of all on a busy machine.
    """
    firsts = []
    for tag in TAGS:
        later = {fields[b"id"] for _, fields in look.xrange(tag.requests, min=since_ms)}
        results = look.xrange(tag.results, min=since_ms)
        firsts.append(min(entry_time_ms(entry.decode()) for entry, fields in results if fields[b"id"] in later))
    return (max(firsts) - since_ms) / 1000


def published(topology) -> int:
    with topology.look() as look:
        return sum(look.xlen(tag.results) for tag in TAGS)


async def fail_over(topology, ledger: Ledger, callers: Callers, number: int) -> float:
    """Lose a primary under load, and get it back; return after how many seconds every shard answered again."""
    enough = asyncio.Event()
    load = asyncio.gather(ledger.load_until(enough, 10), callers.send_until(enough, 20))
    await asyncio.sleep(1.5)
    victim = await asyncio.to_thread(topology.primary, TAGS[number % 4].requests)
    stands_still = number % 2 == 1
    await asyncio.to_thread(partial(victim.signal, signal.SIGSTOP) if stands_still else victim.kill)
    lost_ms = int(time.time() * 1000)
    await asyncio.gather(*(ledger.send() for _ in range(24)))  # 24 keys leave no shard of four out
    with topology.look() as look:
        back_s = served_again_s(look, lost_ms)
    await asyncio.to_thread(partial(victim.signal, signal.SIGCONT) if stands_still else victim.start)
    await eventually(lambda: asyncio.to_thread(topology.in_sync), "every replica is in sync", 40)
    await asyncio.sleep(1)
    enough.set()
    await load
    return back_s


async def test_failovers_under_load_lose_nothing_that_was_accepted_and_every_result_is_counted(
    topology, services, trial, failovers
):
    for _ in range(2):
        services.worker()
    gateway, monitor = services.gateway(), services.monitor()
    back_s, shards, accepted, refused = [], set(), 0, 0
    async with (
        httpx.AsyncClient(timeout=35, limits=httpx.Limits(max_connections=300)) as client,
        Ledger([gateway.url], MODEL, trial.seed, shards=4) as ledger,
    ):
        for number in failovers:
            callers = Callers(gateway, client)
            back_s.append(await fail_over(topology, ledger, callers, number))
            await eventually(lambda: _none(callers), "every accepted text is answered", 20)  # noqa: B023
            shards |= {PredictionId.parse(one).tag.shard for one in callers.ids}
            accepted, refused = accepted + len(callers.ids), refused + callers.refused
            try:
                await eventually(lambda: _all_are_counted(topology, monitor), "the monitor has counted every result")
            finally:
                trial.figure(failover=number, results=published(topology), counted=await counted(monitor))
        trial.figure(
            back_s=f"{median_low(back_s):.1f} to {max(back_s):.1f}",
            sent=len(ledger.sent), refusals=dict(ledger.refusals), accepted=accepted, refused=refused,
        )  # fmt: skip
        with topology.look() as look:
            verdict = ledger.judge(look)
    assert not {"lost", "twice", "wrong", "missing"} & verdict.faults.keys(), verdict
    assert median_low(back_s) < AGAIN_S
    assert shards == {0, 1, 2, 3}
    assert all(process.alive for process in services.processes)


async def _all_are_counted(topology, monitor: Process) -> bool:
    return await counted(monitor) == published(topology)


async def _none(callers: Callers) -> bool:
    return await callers.unanswered() == []
