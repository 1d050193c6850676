"""A task of a service that meets a mistake of ours: the service goes on as a whole, or ends and is replaced."""

import time
from contextlib import suppress

import httpx
import pytest
from redis import Redis

from broker.access import create_key, revoke_key
from broker.connection import connect
from broker.manifest import ModelManifest, Pointer
from broker.settings import BrokerSettings
from tests.live.conftest import MODEL
from tests.live.services import Process, Services
from tests.servers import free_port, wait_until

SERVICES = {  # module, setting of its port, where it says that it works, the task that begins last
    "worker": ("worker.app", "OBSERVA_WORKER_METRICS_PORT_BASE", "/healthz", "Shadow._read_on"),
    "gateway": ("gateway.app", "OBSERVA_GATEWAY_PORT", "/readyz", "Replies._read"),
    "monitor": ("monitor.app", "OBSERVA_MONITOR_PORT", "/healthz", "Reader.run"),
    "archive": ("archive.app", "OBSERVA_ARCHIVE_PORT", "/healthz", "Follower.run"),
    "explainer": ("worker.explaining.app", "OBSERVA_EXPLAINER_PORT", "/healthz", "Explainer._read_forever"),
}
START_S = 180.0  # what an explainer imports takes a busy machine more than a minute
SURE_S = 1.0  # a service that has not said by then that it ends goes on
# There for a moment only: of one HTTP call, of one wait with a limit.
PASSING = {"RequestResponseCycle.run_asgi", "Event.wait", "AbstractConnection._send_packed_command"}


class Losing:
    """One service under its usual name, port and settings, in which a task can be made to fail."""

    def __init__(self, services: Services, service: str) -> None:
        module, port_setting, self.path, _ = SERVICES[service]
        self.folder = services.folder / f"losing-{service}"
        self.folder.mkdir()
        port = free_port()
        settings = {port_setting: port, "OBSERVA_ARCHIVE": services.folder / "archive", "OBSERVA_GATEWAY_DRAIN_S": 0}
        settings["OBSERVA_EXPLAINER_NICE"] = 0
        self.process: Process = services._start("tests.live.losing", port, settings, module, str(self.folder))

    def ready(self) -> bool:
        """Whether it serves; a gateway reads replies once somebody has asked it."""
        with suppress(httpx.HTTPError):
            asked = f"{self.process.url}/v1/models/{MODEL}/predict"
            if self.path == "/readyz" and httpx.post(asked, json={"text": "good"}, timeout=5).status_code != 200:
                return False
            return httpx.get(self.process.url + self.path, timeout=2).status_code == 200
        return False

    def tasks(self) -> set[str]:
        found = self.folder / "tasks"
        return set(found.read_text().splitlines()) if found.exists() else set()

    def start(self, task: str | None = None) -> None:
        """Be there, with *task* if it is named."""
        if not self.process.alive:
            (self.folder / "tasks").unlink()
            self.process.start()
        wait_until(lambda: self.ready() and (task is None or task in self.tasks()), f"it has {task}", START_S)

    def lose(self, task: str) -> int | None:
        """Let *task* fail; return the exit code, or nothing where the service has come round."""
        before = len(self.process.log.read_text())
        (self.folder / "lose.new").write_text(task)
        (self.folder / "lose.new").replace(self.folder / "lose")
        wait_until(lambda: not self.process.alive or not (self.folder / "lose").exists(), f"{task} fails")
        time.sleep(SURE_S)
        if '"critical"' in self.process.log.read_text()[before:]:
            wait_until(lambda: not self.process.alive, f"it ends without {task}")
        wait_until(
            lambda: not self.process.alive or (task in self.tasks() and self.ready()), f"it ends, or has {task} again"
        )
        return None if self.process.alive else self.process.popen.returncode


@pytest.fixture
def stack(services: Services) -> Services:
    """A model with a shadow, so that those who run one have its tasks, too."""
    folder = services.models / MODEL
    manifest = ModelManifest.model_validate_json((folder / "1" / "model.json").read_text())
    (folder / "2").mkdir()
    (folder / "2" / "model.json").write_text(manifest.model_copy(update={"version": "2"}).model_dump_json())
    (folder / "live.json").write_text(Pointer(version="1", generation=1, shadows={"2": 1.0}).model_dump_json())
    return services


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.timeout(600)
def test_each_task_that_is_lost_ends_the_process_or_comes_back(stack, service):
    if service == "gateway":
        stack.worker(wait=False)
    if service == "explainer":
        pytest.importorskip("shap", reason="the explainer's libraries: uv pip install -r requirements/explainer.txt")
    losing = Losing(stack, service)
    losing.start(SERVICES[service][3])
    names = losing.tasks() - PASSING
    outcomes = {}
    for name in sorted(names):
        losing.start(name)
        outcomes[name] = losing.lose(name)
    print(f"\nfigure {service}: {outcomes}")
    assert set(outcomes.values()) <= {None, 1}, outcomes
    assert "injected" not in losing.process.log.read_text()  # a mistake's message may hold a text


async def test_a_key_revoked_after_the_task_that_reads_keys_failed_is_refused(stack: Services):
    settings = BrokerSettings(redis_url=stack.server.url, redis_password_file=None)
    async with connect(settings, "test") as redis:
        key, shown = await create_key(redis, "caller", ["predict"], None)
        stack.settings["OBSERVA_GATEWAY_AUTH"] = "keys"
        stack.worker(wait=False)
        losing, headers = Losing(stack, "gateway"), {"Authorization": f"Bearer {shown}"}
        losing.path = "/healthz"

        def status() -> int:
            with suppress(httpx.HTTPError):
                return httpx.post(f"{losing.process.url}/predict", json={"text": "a"}, headers=headers).status_code
            return 0

        wait_until(lambda: status() == 200, "the key opens")
        assert losing.lose("Access.refresh_forever") == 1
        losing.start("Access.refresh_forever")
        wait_until(lambda: status() == 200, "the key opens the next one")
        await revoke_key(redis, key.id)
        wait_until(lambda: status() == 401, "the key is refused")


def test_nothing_is_pending_after_the_workers_reader_failed(stack: Services, look: Redis):
    losing = Losing(stack, "worker")
    losing.start("Reader.run")
    assert losing.lose("Reader.run") == 1
    losing.start("Reader.run")
    gateway = stack.gateway()
    assert httpx.post(f"{gateway.url}/predict", json={"text": "good"}, timeout=30).status_code == 200
    assert look.xpending(f"observa:{{{MODEL}}}:requests", "workers")["pending"] == 0
