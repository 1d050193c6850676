"""Gateways are killed and replaced while callers wait."""

import asyncio
import random
import signal

import httpx

from tests.faults.fleet import ready
from tests.live.ledger import Ledger
from tests.live.services import Process
from tests.servers import eventually


async def test_answers_of_a_gateway_killed_with_500_in_flight_are_fetched_from_another(services, look, trial):
    first, second = services.gateway(wait=False), services.gateway(wait=False)
    worker = services.worker(wait=False)
    services.wait()
    await eventually(lambda: asyncio.to_thread(lambda: ready(first)), "the worker is known")
    worker.signal(signal.SIGSTOP)  # nothing is answered before the gateway is dead
    async with Ledger([first.url], "strange", trial.seed) as ledger, httpx.AsyncClient(timeout=40) as client:
        keys = [ledger.write() for _ in range(500)]
        accepted: dict[str, str] = {}

        async def accept(keys: list[str]) -> None:
            for key in keys:
                answer = await client.post(
                    f"{first.url}/predict",
                    json={"text": ledger.sent[key].text},
                    headers={"Idempotency-Key": key, "Prefer": "respond-async"},
                )
                assert answer.status_code == 202
                accepted[key] = answer.json()["id"]

        await asyncio.gather(*(accept(keys[start::20]) for start in range(20)))
        waiting = [asyncio.create_task(ledger.insist(key)) for key in keys[:100]]
        assert look.xlen("observa:{strange}:results") == 0
        ledger.gateways = [second.url]
        first.kill()
        worker.signal(signal.SIGCONT)
        await asyncio.gather(*waiting)

        async def fetch(keys: list[str]) -> None:
            for key in keys:

                async def answered(key: str = key) -> bool:
                    found = await client.get(f"{second.url}/v1/predictions/{accepted[key]}")
                    if found.status_code == 200:
                        ledger.answers[key] = found.json()
                    return found.status_code == 200

                await eventually(answered, "the answer can be fetched", 30)

        await asyncio.gather(*(fetch(keys[start::20]) for start in range(20)))
        trial.figure(accepted=len(accepted), fetched=len(ledger.answers))
        ledger.check(look)
    assert {key: answer["id"] for key, answer in ledger.answers.items()} == accepted


class Balancer:
    """Callers as a load balancer sends them: to gateways that say they are ready, each request once."""

    def __init__(self, gateways: list[Process]) -> None:
        self.gateways = gateways
        self.good = list(gateways)
        self.failed: list[str] = []
        self.count = 0

    async def look(self) -> None:
        while True:
            states = await asyncio.gather(*(asyncio.to_thread(ready, gateway) for gateway in self.gateways))
            self.good = [gateway for gateway, state in zip(self.gateways, states, strict=True) if state]
            await asyncio.sleep(0.1)

    async def send(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        self.count += 1
        try:
            answer = await client.post(f"{chance.choice(self.good).url}/predict", json={"text": f"good {self.count}"})
        except httpx.HTTPError as error:
            self.failed.append(type(error).__name__)
        else:
            if answer.status_code != 200:
                self.failed.append(answer.text)


async def test_restarting_every_service_in_turn_fails_no_request(services, trial):
    gateways = [services.gateway(wait=False, OBSERVA_GATEWAY_DRAIN_S=0.5) for _ in range(2)]
    workers = [services.worker(wait=False) for _ in range(2)]
    monitor = services.monitor(wait=False)
    services.wait()
    await eventually(lambda: asyncio.to_thread(lambda: all(map(ready, gateways))), "all are ready")
    balancer, chance = Balancer(gateways), random.Random(trial.seed)
    async with httpx.AsyncClient(timeout=40, limits=httpx.Limits(max_connections=200)) as client:
        looking = asyncio.create_task(balancer.look())
        done = asyncio.Event()

        async def load() -> None:
            async with asyncio.TaskGroup() as group:
                while not done.is_set():
                    group.create_task(balancer.send(client, chance))
                    await asyncio.sleep(1 / 60)

        loading = asyncio.create_task(load())
        for service in (*gateways, *workers, monitor):
            code = await asyncio.to_thread(service.terminate)
            assert code in {0, -15}, f"{code} {service.log.read_text()[-3000:]}"
            service.start()
            await asyncio.to_thread(service.wait, "/readyz" if service in gateways else "/healthz")
            await asyncio.sleep(0.3)
        done.set()
        await loading
        looking.cancel()
    trial.figure(sent=balancer.count, failed=len(balancer.failed))
    assert not balancer.failed
