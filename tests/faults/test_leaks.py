"""Connections and descriptors stay flat: with a shadow, with entries that are taken over, with an archive."""

import asyncio
from collections import Counter
from pathlib import Path

from redis import Redis

from broker.manifest import ModelManifest, Pointer
from broker.streams import WORKERS, Tag, shadow_group
from tests.faults.fleet import measured
from tests.live.ledger import Ledger
from tests.live.services import Process, Services
from tests.servers import eventually

TAG = Tag("strange")
SPARE = 4  # a pool may open one more at a peak; a leak opened 24 a second


def with_shadow(services: Services) -> None:
    folder = services.models / TAG.model
    manifest = ModelManifest.model_validate_json((folder / "1" / "model.json").read_text())
    (folder / "2").mkdir()
    (folder / "2" / "model.json").write_text(manifest.model_copy(update={"version": "2"}).model_dump_json())
    (folder / "live.json").write_text(Pointer(version="1", generation=1, shadows={"2": 1.0}).model_dump_json())


def descriptors(process: Process) -> int:
    return sum(1 for _ in Path(f"/proc/{process.popen.pid}/fd").iterdir())


def connections(look: Redis) -> Counter[str]:
    """How many each client has, by its name."""
    return Counter(client["name"] for client in look.client_list())


async def leave_some(look: Redis) -> None:
    """Read an entry now and then before a worker can, as one does that then dies."""
    while True:
        pipeline = look.pipeline(transaction=True)
        pipeline.xadd(TAG.requests, {"text": "left behind"})
        pipeline.xreadgroup(WORKERS, "gone", {TAG.requests: ">"})
        await asyncio.to_thread(pipeline.execute)
        await asyncio.sleep(0.2)


async def test_connections_and_descriptors_of_every_process_stay_flat(services, look, trial):
    with_shadow(services)
    settings = {"OBSERVA_ARCHIVE": services.folder / "files", "OBSERVA_ARCHIVE_FLUSH_S": 0.2}
    worker, monitor = services.worker(wait=False, **settings), services.monitor(wait=False)
    archive, gateway = await asyncio.to_thread(services.archive, **settings), services.gateway(wait=False)
    await asyncio.to_thread(services.wait)
    processes = {"worker": worker, "gateway": gateway, "monitor": monitor, "archive": archive}
    shadow = lambda: any(group["name"] == shadow_group("2").encode() for group in look.xinfo_groups(TAG.requests))  # noqa: E731
    await eventually(lambda: asyncio.to_thread(shadow), "the shadow reads")
    async with Ledger([gateway.url], TAG.model, trial.seed) as ledger:
        seconds, enough = trial.scale(8, 300), asyncio.Event()
        leaving, load = asyncio.create_task(leave_some(look)), asyncio.create_task(ledger.load_until(enough, 40))
        await asyncio.sleep(seconds / 2)
        before = connections(look), {name: descriptors(process) for name, process in processes.items()}
        await asyncio.sleep(seconds)
        after = connections(look), {name: descriptors(process) for name, process in processes.items()}
        leaving.cancel()
        enough.set()
        await load
    trial.figure(
        sent=len(ledger.sent), connections=sum(after[0].values()), descriptors=after[1],
        taken_over=measured(worker, "observa_redeliveries_total"),
    )  # fmt: skip
    assert measured(worker, "observa_redeliveries_total") > 0
    assert sum(after[0].values()) <= sum(before[0].values()) + SPARE, (before[0], after[0])
    for name in processes:
        assert after[1][name] <= before[1][name] + SPARE, name
