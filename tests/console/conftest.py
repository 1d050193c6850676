"""A running system with a console before it, and a real browser."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from broker.manifest import read_manifest
from tests.live.services import SHIPPED, Process, Services
from tests.servers import RedisServer, free_port, wait_until

MODEL = "sentiment-linear"
GOOD, BAD = "a wonderful, funny and charming film", "a dull, boring waste of time"
BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and "running" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.live)
            item.add_marker(pytest.mark.timeout(180))


@dataclass
class Running:
    """The processes, by name."""

    services: Services
    gateway: Process
    monitor: Process
    console: Process
    client: httpx.Client

    def send(self, text: str, label: str, times: int) -> None:
        """Classify *text* so often, and say with each that *label* was right."""
        for start in range(0, times, 50):
            count = min(50, times - start)
            body = {"texts": [text] * count, "true_label": [label] * count}
            assert self.client.post("/predict", json=body).status_code == 200

    def counted(self) -> int:
        """Return the number of labels that the monitor has counted."""
        report = httpx.get(f"{self.monitor.url}/report/{MODEL}").json()
        return int(report["versions"]["1"]["accuracy"]["all"]["count"]) if report.get("versions") else 0


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
    (folder / "reference.json").unlink()
    manifest = read_manifest(folder)
    files = {name: digest for name, digest in manifest.files.items() if name != "reference.json"}
    (folder / "model.json").write_text(manifest.model_copy(update={"files": files}).model_dump_json())


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


@pytest.fixture
def page(browser, running):
    """The console in a tab of its own; whatever the page complains of, or asks of another host, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints, asked = [], []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(running.console.url)
    page.wait_for_selector("#model input")
    page.wait_for_function("document.querySelector('#model input').value !== ''")
    yield page
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith((running.console.url, "data:", "blob:"))] == []
