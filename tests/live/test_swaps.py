"""Versions change under load: nobody gets an error, every answer is of one version, and memory stays what it was.

SWAP_SECONDS, SWAP_EVERY and SWAP_MODEL make it longer: `just swaps`.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis as AsyncRedis

from broker.changes import change
from broker.events import Result
from broker.manifest import Pointer
from broker.store import Store
from broker.streams import Tag
from tests.live.ledger import Ledger
from tests.live.services import ROOT, SHIPPED, Services
from tests.servers import wait_until

SECONDS = float(os.environ.get("SWAP_SECONDS", "10"))
EVERY_S = float(os.environ.get("SWAP_EVERY", "0.7"))
MODEL = os.environ.get("SWAP_MODEL", "sentiment-linear")
# A key stands beside it, which must not tip the scales.
GOOD = "a wonderful, moving, brilliant film, funny and beautiful, one of the best of the year"
BAD = "a boring, terrible, stupid mess, awful and dull, one of the worst of the year"
GROWTH = 1.25  # of memory, from the time when both versions had been loaded twice

pytestmark = pytest.mark.timeout(180 + 3 * SECONDS)


@pytest.fixture
def services(own_server, tmp_path_factory):
    services = Services(own_server, tmp_path_factory.mktemp("services"), claim_ms=4000, model=MODEL)
    for version in "12":
        folder = services.models / MODEL / version
        shutil.copytree(SHIPPED / MODEL / "1", folder)
        manifest = json.loads((folder / "model.json").read_text()) | {"version": version}
        (folder / "model.json").write_text(json.dumps(manifest))
    (services.models / MODEL / "live.json").write_text(Pointer(version="1", generation=1).model_dump_json())
    yield services
    services.stop()


def memory_mb(pids: list[int]) -> list[float]:
    return [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 for pid in pids]


async def swap(services: Services, done: asyncio.Event, pids: list[int]) -> list[list[float]]:
    """Let the other version be live, over and over; return the workers' memory after every swap."""
    store, seen = Store(str(services.models)), []
    async with AsyncRedis.from_url(services.server.url) as redis:
        end = asyncio.get_running_loop().time() + SECONDS
        while asyncio.get_running_loop().time() < end:
            other = "2" if store.pointer(MODEL).version == "1" else "1"
            assert not (await change(store, redis, MODEL, lambda pointer, to=other: pointer.promoted(to))).untold
            await asyncio.sleep(EVERY_S)
            seen.append(memory_mb(pids))
    done.set()
    return seen


def lowest(samples: list[list[float]]) -> list[float]:
    """Return each worker's least memory; between, it holds two versions for a moment."""
    return [min(each) for each in zip(*samples, strict=True)]


def just(services: Services, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {"OBSERVA_REDIS_URL": services.server.url, "OBSERVA_MODELS": str(services.models), "OBSERVA_MODEL": MODEL}
    command = [sys.executable, "-m", "cli", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False)


async def test_no_answer_is_lost_or_of_two_versions_while_versions_change(services, look):
    workers = [services.worker("worker") for _ in range(2)]
    pids = [worker.popen.pid for worker in workers]
    gateway = services.gateway()
    ledger = Ledger([gateway.url], MODEL, good=GOOD, bad=BAD)
    done = asyncio.Event()
    async with ledger, asyncio.TaskGroup() as group:
        swapping = group.create_task(swap(services, done, pids))
        group.create_task(ledger.load_until(done, 20))
    ledger.check(look)
    assert not ledger.refusals
    assert all(worker.alive for worker in workers)
    published = {
        result.id: result for result in (Result.from_fields(fields) for _, fields in look.xrange(Tag(MODEL).results))
    }
    assert all(published[answer["id"]].version == answer["version"] for answer in ledger.answers.values())
    assert {result.role for result in published.values()} == {"live"}
    by_version = Counter(answer["version"] for answer in ledger.answers.values())
    assert by_version.keys() == {"1", "2"}
    seen = swapping.result()
    settled, last = lowest(seen[4:9] or seen), lowest(seen[-5:])
    print(f"\nfigure swaps: {len(seen)} changes, answers {dict(by_version)}, p99 {ledger.wait_s():.3f} s")
    print(
        f"figure memory of workers: MB at first {[round(mb) for mb in seen[0]]}, "
        f"settled {[round(mb) for mb in settled]}, in the end {[round(mb) for mb in last]}"
    )
    assert all(now < before * GROWTH + 20 for before, now in zip(settled, last, strict=True))


def test_rollback_is_at_once_also_when_redis_was_emptied_and_a_damaged_version_harms_nobody(services, look):
    worker = services.worker("worker")
    gateway = services.gateway()
    assert just(services, "promote", MODEL, "2").returncode == 0
    look.flushall()
    done = just(services, "rollback", MODEL)
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        0,
        f"{MODEL} 1 is live again (generation 3); 2 is not, return to it with: just rollback {MODEL}",
    )
    assert look.hget(f"observa:{{{MODEL}}}:versions", "live") == b"1"
    # What promote would refuse, put there by hand.
    damaged = services.models / MODEL / "2" / "reference.json"
    damaged.write_bytes(damaged.read_bytes() + b" ")
    assert "sha256 differs" in just(services, "promote", MODEL, "2").stderr
    wanted = Pointer(version="2", generation=4, previous="1")
    (services.models / MODEL / "live.json").write_text(wanted.model_dump_json())
    refused = f'observa_model_refused{{model="{MODEL}",version="2"}} 1.0'
    wait_until(lambda: refused in httpx.get(f"{worker.url}/metrics").text, "the worker refuses it")
    wait_until(
        lambda: httpx.get(f"{gateway.url}/v1/models/{MODEL}").json()["refused"] == ["2"], "the gateway knows it", 15
    )
    answer = httpx.post(f"{gateway.url}/predict", json={"text": "a wonderful film"}, timeout=20)
    assert (answer.status_code, answer.json()["version"]) == (200, "1")
    shown = json.loads(just(services, "models", MODEL, "--json").stdout)["models"][0]
    assert [(one["version"], one["role"], one["refused_by"]) for one in shown["versions"]] == [
        ("1", "previous", 0),
        ("2", "live", 1),
    ]
    assert just(services, "rollback", MODEL).returncode == 0
