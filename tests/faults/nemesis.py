"""Faults in an order that a seed decides, on a stack that replaces what dies; the plan is printed and replays."""

import asyncio
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from tests.faults.fleet import Keeper
from tests.faults.proxy import Proxy
from tests.live.ledger import Ledger, Verdict
from tests.live.services import Process, Services, make_model
from tests.servers import RedisServer, eventually

MODEL = "strange"
RATE = 40
FAULTS = (
    "kill worker", "kill worker", "stop worker", "kill gateway", "stop gateway", "kill monitor", "stop monitor",
    "kill redis", "restart redis", "stop redis", "cut", "hold", "lose", "delay",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What happens, when, to which process of its kind, and for how long."""

    at_s: float
    name: str
    target: int
    hold_s: float

    def __str__(self) -> str:
        return f"{self.at_s:7.1f} s  {self.name} {self.target} for {self.hold_s:.1f} s"


def plan(seed: int, seconds: float) -> list[Fault]:
    """Return the faults of *seed* for so many seconds: always the same ones."""
    chance = random.Random(seed)
    faults, at_s = [], chance.uniform(0.5, 2)
    while at_s < seconds:
        faults.append(Fault(at_s, chance.choice(FAULTS), chance.randrange(3), chance.uniform(0.3, 4)))
        at_s += chance.uniform(0.5, 4)
    return faults


class Stack:
    """Two gateways, three workers and a monitor on one server; one gateway and one worker behind a proxy."""

    def __init__(self, server: RedisServer, folder: Path, proxy: Proxy) -> None:
        self.services = Services(server, folder, claim_ms=1000, model=MODEL)
        self.server = server
        self.proxy = proxy
        make_model(self.services.models, MODEL)
        self.gateways: list[Process] = []
        self.workers: list[Process] = []
        self.monitors: list[Process] = []

    def start(self) -> None:
        for through in ({}, {}, {"OBSERVA_REDIS_URL": self.proxy.url}):
            self.workers.append(self.services.worker(wait=False, **through))
        for through in ({}, {"OBSERVA_REDIS_URL": self.proxy.url}):
            self.gateways.append(self.services.gateway(wait=False, **through))
        self.monitors.append(self.services.monitor(wait=False))
        self.services.wait()

    @property
    def processes(self) -> list[Process]:
        return [*self.gateways, *self.workers, *self.monitors]

    async def do(self, fault: Fault) -> None:
        """Let one fault happen and end."""
        verb, _, kind = fault.name.partition(" ")
        if kind == "redis":
            await self._redis(verb, fault.hold_s)
        elif kind:
            group = {"worker": self.workers, "gateway": self.gateways, "monitor": self.monitors}[kind]
            await _process(verb, group[fault.target % len(group)], fault.hold_s)
        else:
            await self._network(verb, fault.hold_s)

    async def _redis(self, verb: str, hold_s: float) -> None:
        if verb == "stop":
            await _paused(self.server.signal, hold_s)
            return
        await asyncio.to_thread(self.server.kill if verb == "kill" else self.server.stop)
        await asyncio.sleep(hold_s / 2)
        await asyncio.to_thread(self.server.start)

    async def _network(self, verb: str, hold_s: float) -> None:
        match verb:
            case "cut":
                self.proxy.cut()
            case "hold":
                self.proxy.hold()
            case "lose":
                self.proxy.lose = 0.1
            case "delay":
                self.proxy.delay_s = 0.2
        await asyncio.sleep(hold_s)
        self.proxy.let_go()
        self.proxy.lose = self.proxy.delay_s = 0.0


async def _process(verb: str, process: Process, hold_s: float) -> None:
    if not process.alive:
        return
    if verb == "kill":
        await asyncio.to_thread(process.kill)
    else:
        await _paused(process.signal, hold_s)


async def _paused(send: Callable[[signal.Signals], None], hold_s: float) -> None:
    send(signal.SIGSTOP)
    try:
        await asyncio.sleep(hold_s)
    finally:
        send(signal.SIGCONT)


async def torment(
    server: RedisServer, folder: Path, seed: int, seconds: float, say: Callable[[str], None]
) -> tuple[Verdict, Ledger]:
    """Send at a constant rate for so long while the faults of *seed* happen; return what is wrong afterwards."""
    faults = plan(seed, seconds)
    async with Proxy(server.port, seed) as proxy, Ledger([], MODEL, seed) as ledger:
        stack = Stack(server, folder, proxy)
        try:
            await asyncio.to_thread(stack.start)
            ledger.gateways = [gateway.url for gateway in stack.gateways]
            async with Keeper(stack.processes) as keeper:
                load = asyncio.create_task(ledger.load(int(RATE * seconds), RATE, give_up_s=120))
                await _follow(faults, stack, say)
                await load
                with Redis(port=server.port, protocol=2) as look:
                    await eventually(lambda: asyncio.to_thread(_quiet, look), "nothing is left pending", 60)
                    say(f"{keeper.restarts} processes replaced, refusals {dict(ledger.refusals)}")
                    return ledger.judge(look), ledger
        finally:
            stack.services.stop()


async def _follow(faults: list[Fault], stack: Stack, say: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    for fault in faults:
        await asyncio.sleep(start + fault.at_s - loop.time())
        say(str(fault))
        await stack.do(fault)


def _quiet(look: Redis) -> bool:
    [group] = look.xinfo_groups(f"observa:{{{MODEL}}}:requests")
    return group["pending"] == 0 and group["lag"] == 0
