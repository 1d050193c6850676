"""The monitor is away for a while: serving does not notice, and afterwards everything is counted."""

import asyncio
import signal

import httpx
import pytest

from tests.live.ledger import Ledger
from tests.servers import eventually


def counted(monitor) -> float:
    report = httpx.get(f"{monitor.url}/report/strange").json()
    return sum(sum(version["totals"].values()) for version in report["versions"].values())


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_monitor_that_was_away_catches_up_exactly(services, look, trial, how):
    if how == "stopped" and not trial.scale(0, 1):
        pytest.skip("only in the long form: just faults")
    gateway, _, monitor = services.gateway(wait=False), services.worker(wait=False), services.monitor(wait=False)
    services.wait()
    gateway.wait("/readyz")
    async with Ledger([gateway.url], "strange", trial.seed) as ledger:
        await ledger.load(100, 50)
        with_monitor_s = ledger.wait_s()
        if how == "killed":
            monitor.kill()
        else:
            monitor.signal(signal.SIGSTOP)
        ledger.waits_s.clear()
        await ledger.load(int(trial.scale(4, 300 if how == "stopped" else 600) * 50), 50)
        without_s = ledger.wait_s()
        if how == "killed":
            monitor.start()
            await asyncio.to_thread(monitor.wait, "/healthz")
        else:
            monitor.signal(signal.SIGCONT)
        await eventually(
            lambda: asyncio.to_thread(lambda: counted(monitor) >= len(ledger.sent)), "the monitor has caught up", 30
        )
        trial.figure(sent=len(ledger.sent), p99_before_s=with_monitor_s, p99_without_s=without_s)
        ledger.check(look)
    assert counted(monitor) == len(ledger.sent)
    assert not ledger.refusals
