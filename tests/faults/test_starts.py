"""Services that start at a bad moment: each works as soon as the moment is over, whatever step it had reached."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress

import httpx
import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.faults.conftest import Trial
from tests.faults.fleet import Keeper
from tests.faults.refusing import FAULTS, Refusing
from tests.faults.test_redis import fill, small_disk  # noqa: F401 fixture
from tests.live.services import Process, Services
from tests.servers import RedisServer, eventually, free_port

SERVICES = {  # module, setting of the port, where it says that it works
    "worker": ("tests.live.strange_worker", "OBSERVA_WORKER_METRICS_PORT_BASE", "/healthz"),
    "gateway": ("gateway", "OBSERVA_GATEWAY_PORT", "/readyz"),
    "monitor": ("monitor", "OBSERVA_MONITOR_PORT", "/healthz"),
    "archive": ("archive", "OBSERVA_ARCHIVE_PORT", "/healthz"),
}
LAST_STEP = 40  # commands that a start sends, about; what comes later is a fault of a service that runs
HELD_S = 5.0  # more than FastStream gives a start, and than a socket waits
PERSON = "wrong password"  # the fault that does not pass by itself


def begin(services: Services, service: str, **settings: object) -> Process:
    """Start *service* and wait for nothing."""
    module, port_setting, _ = SERVICES[service]
    port = free_port()
    return services._start(module, port, {port_setting: port, "OBSERVA_ARCHIVE": services.folder / "files", **settings})


def steps(trial: Trial, fault: str) -> Iterator[dict[str, int]]:
    """One step a service for the short form, the first where the fault ends the start; in the long one many."""
    chance = random.Random(f"{trial.seed} {trial.name}")
    if trial.scale(1, 0):
        yield {service: chance.randrange(LAST_STEP) if fault != PERSON else 0 for service in SERVICES}
    else:
        for step in range(0, LAST_STEP, 2):
            yield dict.fromkeys(SERVICES, step)


async def all_work(processes: dict[str, Process]) -> None:
    """Wait until each reads; a gateway is ready where a worker is."""
    for service, process in processes.items():
        path = SERVICES[service][2]
        await eventually(
            lambda process=process, path=path: asyncio.to_thread(lambda: process.alive and process.healthy(path)),
            f"{service} works",
        )


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("fault", FAULTS)
async def test_each_service_starts_through_a_fault_at_any_step(services, trial, fault):
    await asyncio.to_thread(services.worker)
    for chosen in steps(trial, fault):
        async with AsyncExitStack() as stack:
            proxies = {
                service: await stack.enter_async_context(Refusing(services.server.port, FAULTS[fault], step))
                for service, step in chosen.items()
            }
            processes = {
                service: begin(services, service, OBSERVA_REDIS_URL=proxy.url) for service, proxy in proxies.items()
            }
            stack.callback(end, processes)
            keeper = await stack.enter_async_context(Keeper([*processes.values()], every_s=0.5))
            for proxy in proxies.values():
                await eventually(lambda proxy=proxy: asyncio.sleep(0, proxy.failing), "the fault")
            await asyncio.sleep(HELD_S)
            for proxy in proxies.values():
                proxy.heal()
            await all_work(processes)
            trial.figure(steps=chosen, replaced=keeper.restarts)
            if fault != PERSON:
                assert keeper.restarts == 0
            elif not any(chosen.values()):
                assert keeper.restarts >= len(chosen)
            check_logs(processes)


async def test_each_service_starts_while_the_disk_is_full_and_works_once_there_is_room(services, small_disk):  # noqa: F811
    services.server.kill()
    server = RedisServer(small_disk)
    server.port, server.url = services.server.port, services.server.url
    server.start("--auto-aof-rewrite-percentage", "0")
    services.server, filler = server, small_disk / "filler"
    try:
        with Redis(port=server.port) as look:
            fill(filler)
            with suppress(ResponseError):
                while True:
                    look.set("ballast", b"x" * 100_000)
            processes = {service: begin(services, service) for service in SERVICES}
            async with Keeper([*processes.values()], every_s=0.5) as keeper:
                await asyncio.sleep(3 * HELD_S)
                filler.unlink()
                await all_work(processes)
            answer = await asyncio.to_thread(
                httpx.post, f"{processes['gateway'].url}/predict", json={"text": "good"}, timeout=30
            )
        assert (answer.status_code, keeper.restarts) == (200, 0)
        check_logs(processes)
    finally:
        server.kill()


async def test_each_service_starts_again_until_the_store_can_be_read(services):
    away = services.models.rename(services.folder / "elsewhere")
    services.models.write_text("no folder")
    processes = {service: begin(services, service) for service in SERVICES}
    async with Keeper([*processes.values()], every_s=0.5) as keeper:
        await eventually(lambda: asyncio.sleep(0, keeper.restarts > 1), "the worker has ended")
        services.models.unlink()
        away.rename(services.models)
        await all_work(processes)
    check_logs(processes)


def end(processes: dict[str, Process]) -> None:
    for process in processes.values():
        process.kill()


def check_logs(processes: dict[str, Process]) -> None:
    """Everything is lines of the log, or the one line for a person: no traceback."""
    for service, process in processes.items():
        for line in process.log.read_text().splitlines():
            assert line.startswith(('{"at"', f"observa {service}: ")), process.log.read_text()[-3000:]
