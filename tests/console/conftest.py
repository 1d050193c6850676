"""A running system with a console before it, and a real browser."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from redis import Redis

from broker.manifest import Pointer, read_manifest
from broker.streams import PredictionId, Tag
from tests.live.services import ROOT, SHIPPED, Process, Services
from tests.servers import RedisServer, free_port, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

MODEL = "sentiment-linear"
TAG = Tag(MODEL)
GOOD, BAD = "a wonderful, funny and charming film", "a dull, boring waste of time"
BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and "running" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.live)
            item.add_marker(pytest.mark.timeout(300))


@dataclass
class Running:
    """The processes, by name."""

    services: Services
    gateway: Process
    monitor: Process
    console: Process
    client: httpx.Client
    generation: int = 1

    def send(self, text: str, label: str, times: int) -> None:
        """Classify *text* so often, and say with each that *label* was right."""
        for start in range(0, times, 50):
            count = min(50, times - start)
            body = {"texts": [text] * count, "true_label": [label] * count}
            assert self.client.post("/predict", json=body).status_code == 200

    def point(self, **more: object) -> None:
        """Make version 1 live, with *more* of the pointer, as ``just shadow`` and ``just canary`` do."""
        self.generation += 1
        pointer = Pointer.model_validate({"version": "1", "generation": self.generation, **more})
        (self.services.models / MODEL / "live.json").write_text(pointer.model_dump_json())

    def counted(self) -> int:
        """Return the number of labels that the monitor has counted."""
        report = httpx.get(f"{self.monitor.url}/report/{MODEL}").json()
        return int(report["versions"]["1"]["accuracy"]["all"]["count"]) if report.get("versions") else 0


def bury(running: Running, why: str) -> None:
    known = str(PredictionId.new(TAG))
    letter = {"schema_version": "1", "id": known, "entry_id": "1-1", "reason": "crashed", "detail": why}
    entry = f'["id","{known}","text","{GOOD}"]'
    with Redis(port=running.services.server.port) as look:
        look.xadd(TAG.dead, {**letter, "deliveries": "3", "worker": "w", "entry": entry})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """All services and a console, with the shipped small model less its reference: repeated texts are no drift."""
    pytest.importorskip(
        "gradio", reason="the console's libraries are missing: uv pip install -r requirements/console.txt"
    )
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    services = Services(server, tmp_path_factory.mktemp("console"), model=MODEL)
    _without_reference(services.models)
    ports = {name: free_port() for name in ("gateway", "monitor", "explainer", "console")}
    where = {
        "OBSERVA_CONSOLE_GATEWAY_URL": f"http://127.0.0.1:{ports['gateway']}",
        "OBSERVA_CONSOLE_MONITOR_URL": f"http://127.0.0.1:{ports['monitor']}",
        "OBSERVA_CONSOLE_REFRESH_S": "0.5",
    }
    # Compiled once for all the tests: the libraries of the page and of the explainer are large.
    compiled = {
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": f"{tempfile.gettempdir()}/observa-tests-{os.getuid()}",
    }
    services.settings |= compiled
    start = services._start
    try:
        console = start("console", ports["console"], {"OBSERVA_CONSOLE_PORT": ports["console"], **where})
        explainer = start("worker.explaining", ports["explainer"], {"OBSERVA_EXPLAINER_PORT": ports["explainer"]})
        monitor = start("monitor", ports["monitor"], {"OBSERVA_MONITOR_PORT": ports["monitor"]})
        services.worker("worker")
        gateway = start("gateway", ports["gateway"], {"OBSERVA_GATEWAY_PORT": ports["gateway"]}).wait("/readyz")
        monitor.wait("/healthz")
        with httpx.Client(base_url=gateway.url, timeout=30) as client:
            found = Running(services, gateway, monitor, console, client)
            found.send(GOOD, "positive", 1)
            wait_until(lambda: found.counted() == 1, "the monitor has met the model")
            console.wait("/healthz")
            explainer.wait("/healthz")
            yield found
    finally:
        services.stop()
        server.kill()


def _without_reference(store: Path) -> None:
    shutil.copytree(SHIPPED / MODEL, store / MODEL)
    folder = store / MODEL / "1"
    _rewrite(folder, "reference.json")
    for version in ("2", "3"):  # says the opposite of everything
        shutil.copytree(folder, folder.with_name(version))
        _rewrite(folder.with_name(version), "golden.json", version=version, labels=read_manifest(folder).labels[::-1])


def _rewrite(folder: Path, less: str, **changes: object) -> None:
    (folder / less).unlink()
    manifest = read_manifest(folder)
    files = {name: digest for name, digest in manifest.files.items() if name != less}
    (folder / "model.json").write_text(manifest.model_copy(update={"files": files, **changes}).model_dump_json())


def tab(page: "Page", name: str) -> None:
    """Open a tab; on a narrow page it may be behind the three dots."""
    found = page.get_by_role("tab", name=name, exact=True)
    if found.count() == 0 or not found.first.is_visible():
        page.locator(".overflow-menu > button").first.click()
        found = page.locator(".overflow-dropdown button", has_text=name)
    found.first.click()


@dataclass
class Locked:
    """A console behind a login, before a gateway that asks for keys."""

    console: Process
    claims: Path  # of whoever logs in next
    keys: dict[Path, str]  # what belongs into its key files, which hold another gateway's

    def hand_over_keys(self) -> None:
        for file, key in self.keys.items():
            file.write_text(key)


def _make_key(url: str, caller: str, scopes: str) -> str:
    """Make an API key as a person does; return it."""
    command = [sys.executable, "-m", "cli", "keys", "create", caller, "--scopes", scopes]
    environment = os.environ | {"OBSERVA_REDIS_URL": url}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def locked(running: Running, tmp_path: Path) -> Iterator[Locked]:
    """Such a console beside the other one."""
    pytest.importorskip("pyop", reason="the test's provider is missing: uv pip install -r requirements/dev.txt")
    files = [tmp_path / name for name in ("key", "admin.key", "who.json", "secret")]
    for file, content in zip(
        files, ("another", "another", '{"groups": ["staff"]}', "a secret between two"), strict=True
    ):
        file.write_text(content)
    port, provided = free_port(), free_port()
    back = f"http://127.0.0.1:{port}/login/callback"
    command = [sys.executable, "-m", "tests.console.provider", str(provided), back, str(files[2])]
    url = running.services.server.url
    keys = {files[0]: _make_key(url, "console", "predict,feedback"), files[1]: _make_key(url, "console-admin", "admin")}
    provider = Process(command, provided, {"PYTHONPATH": str(ROOT)}, tmp_path / "provider.log")
    gateway = running.services.gateway(ready=False, OBSERVA_GATEWAY_AUTH="keys")
    settings = {
        "OBSERVA_CONSOLE_PORT": port,
        "OBSERVA_CONSOLE_GATEWAY_URL": gateway.url,
        "OBSERVA_CONSOLE_MONITOR_URL": running.monitor.url,
        "OBSERVA_CONSOLE_REFRESH_S": "0.5",
        "OBSERVA_CONSOLE_KEY_FILE": files[0],
        "OBSERVA_CONSOLE_ADMIN_KEY_FILE": files[1],
        "OBSERVA_OIDC_ISSUER": provider.url,
        "OBSERVA_OIDC_CLIENT_SECRET_FILE": files[3],
        "OBSERVA_OIDC_ALLOW": "groups=staff",
        "OBSERVA_OIDC_ADMIN": "groups=admins",
    }
    try:
        provider.wait("/healthz")
        console = running.services._start("console", port, settings).wait("/healthz")
        yield Locked(console, files[2], keys)
        console.kill()
    finally:
        provider.kill()
        gateway.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="uv pip install playwright")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no browser is installed: apt-get install --no-install-recommends chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=BROWSER)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visits(browser) -> Iterator[object]:
    """What all tabs share: the scripts of the page are fetched once."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(visits, running):
    """The console in a tab of its own; whatever the page complains of, or asks of another host, fails the test."""
    page = visits.new_page()
    page.set_default_timeout(20_000)
    complaints, asked = [], []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(running.console.url)
    page.wait_for_selector("#model input")
    page.wait_for_function("document.querySelector('#model input').value !== ''")
    yield page
    page.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith((running.console.url, "data:", "blob:"))] == []
