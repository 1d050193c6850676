"""The examples of proxies in deploy/proxy, as they are but for ports and certificates, before real services."""

import json
import re
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme

from tests.live.proxies import running
from tests.live.services import ROOT, Process, Services
from tests.servers import RedisServer, free_port, wait_until

MODEL, SITE, PREFIX = "sentiment-linear", "nlp.example", "/nlp"
EXAMPLES = ROOT / "deploy" / "proxy"
ASYNC = {"Prefer": "respond-async"}


@dataclass
class Site:
    """Observa as a caller sees it behind a proxy."""

    url: str
    client: httpx.Client


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Process]]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    services = Services(redis, tmp_path_factory.mktemp("proxies"), model=MODEL)
    services.ship(MODEL)
    port, console = free_port(), free_port()
    names = {f"OBSERVA_{name}_ALLOWED_HOSTS": f"{SITE},127.0.0.1" for name in ("GATEWAY", "CONSOLE")}
    prefix = {"OBSERVA_PATH_PREFIX": PREFIX, "OBSERVA_CONSOLE_PUBLIC_URL": f"https://{SITE}{PREFIX}/console"}
    where = {"OBSERVA_CONSOLE_PORT": console, "OBSERVA_CONSOLE_GATEWAY_URL": f"http://127.0.0.1:{port}"}
    try:
        services.worker("worker", wait=False)
        found = {
            "gateway": services.gateway(port=port, wait=False, **names, **prefix),
            "console": services._start("console", console, {**where, **names, **prefix}),
        }
        found["gateway"].wait("/readyz")
        found["console"].wait("/healthz")
        yield found
    finally:
        services.stop()
        redis.kill()


@contextmanager
def nginx(folder: Path, ports: dict[str, int], port: int) -> Iterator[None]:
    """Run nginx by the example."""
    settings = (EXAMPLES / "nginx.conf").read_text()
    mine = f"pid {folder}/pid; daemon off; master_process off; error_log {folder}/error.log;\nevents"
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    for theirs, ours in {
        "events": mine,
        "http {": f"http {{ access_log off; {paths}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "127.0.0.1:8000": f"127.0.0.1:{ports['gateway']}",
        "127.0.0.1:7860": f"127.0.0.1:{ports['console']}",
        f"/etc/ssl/{SITE}": f"{folder}/{SITE}",
    }.items():
        assert theirs in settings
        settings = settings.replace(theirs, ours)
    (folder / "nginx.conf").write_text(settings)
    with running(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")], port):
        yield


@contextmanager
def caddy(folder: Path, ports: dict[str, int], port: int) -> Iterator[None]:
    """Run Caddy by the example."""
    settings = "{\n\tadmin off\n\tauto_https off\n}\n" + (EXAMPLES / "Caddyfile").read_text()
    for theirs, ours in {
        f"\n{SITE} {{": f"\nhttps://{SITE}:{port} {{\n\tbind 127.0.0.1\n\ttls {folder}/{SITE}.pem {folder}/{SITE}.key",
        "127.0.0.1:8000": f"127.0.0.1:{ports['gateway']}",
        "127.0.0.1:7860": f"127.0.0.1:{ports['console']}",
    }.items():
        assert theirs in settings
        settings = settings.replace(theirs, ours)
    (folder / "Caddyfile").write_text(settings)
    with running(["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")], port):
        yield


PROXIES: dict[str, Callable[[Path, dict[str, int], int], object]] = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(params=PROXIES)
def site(request: pytest.FixtureRequest, services: dict[str, Process], tmp_path: Path) -> Iterator[Site]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    authority = trustme.CA()
    certificate = authority.issue_cert(SITE)
    certificate.private_key_pem.write_to_path(tmp_path / f"{SITE}.key")
    for part in certificate.cert_chain_pems:
        part.write_to_path(tmp_path / f"{SITE}.pem", append=True)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    port = free_port()
    ports = {name: service.port for name, service in services.items()}
    # Named as the world names it, and found on this machine.
    client = httpx.Client(base_url=f"https://127.0.0.1:{port}", headers={"Host": f"{SITE}:{port}"}, verify=trusting)
    client.event_hooks["request"].append(lambda asked: asked.extensions.update(sni_hostname=SITE))
    with PROXIES[request.param](tmp_path, ports, port), client:
        yield Site(f"https://{SITE}:{port}{PREFIX}", client)


def test_a_call_its_later_answer_and_its_explanation_have_addresses_that_lead_there(site):
    answer = site.client.post(f"{PREFIX}/predict", json={"text": "a joy"})
    assert (answer.status_code, answer.json()["model"]) == (200, MODEL)
    later = site.client.post(f"{PREFIX}/predict", json={"text": "a joy"}, headers=ASYNC)
    where = later.headers["Location"]
    assert later.json()["result_url"] == where
    assert where.startswith(f"{PREFIX}/v1/predictions/")
    wait_until(lambda: site.client.get(where).status_code == 200, "the answer is there")


def test_the_documentation_finds_its_files_and_names_the_way(site):
    page = site.client.get(f"{PREFIX}/docs")
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text) + re.findall(r"url: '([^']+)'", page.text)
    assert len(named) == 4
    for address in named:
        assert site.client.get(str(httpx.URL(f"{PREFIX}/docs").join(address))).status_code == 200
    document = site.client.get(f"{PREFIX}/openapi.json").json()
    assert document["servers"] == [{"url": PREFIX}]


def test_the_console_works_in_a_browser(site):
    api = pytest.importorskip("playwright.sync_api")
    if (browser := shutil.which("chromium")) is None:
        pytest.skip("chromium is not installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", f"--host-resolver-rules=MAP {SITE} 127.0.0.1"]
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=flags)
        page = chromium.new_page(ignore_https_errors=True)
        failed: list[str] = []
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        page.goto(f"{site.url}/console/")
        page.wait_for_function("document.querySelector('#model input')?.value")
        page.fill("#text textarea", "a wonderful, funny and charming film")
        page.click("#predict")
        api.expect(page.locator("#answer")).to_have_text("positive", timeout=30_000)
        chromium.close()
    assert failed == []


def test_only_a_proxy_that_is_trusted_says_under_which_path_it_shows_the_gateway(tmp_path):
    redis = RedisServer(tmp_path)
    redis.start()
    (tmp_path / "services").mkdir()
    services = Services(redis, tmp_path / "services", model=MODEL)
    services.ship(MODEL)
    forwarded = {"X-Forwarded-Prefix": "/given/", **ASYNC}
    try:
        services.worker("worker", wait=False)
        trusting = services.gateway(OBSERVA_TRUSTED_PROXIES="10.0.0.0/8, 127.0.0.0/8", OBSERVA_PATH_PREFIX="/usual")
        wary = services.gateway(OBSERVA_TRUSTED_PROXIES="10.0.0.0/8")
        for gateway, given, begin in (
            (trusting, "/given/", "/given/v1/"),
            (trusting, "/a/b", "/a/b/v1/"),
            (trusting, "//evil.example", "/usual/v1/"),
            (trusting, "/a?b", "/usual/v1/"),
            (trusting, "/a/../b", "/usual/v1/"),
            (wary, "/given", "/v1/"),
        ):
            headers = {**forwarded, "X-Forwarded-Prefix": given}
            answer = httpx.post(f"{gateway.url}/predict", json={"text": "a"}, headers=headers)
            assert answer.headers["Location"].startswith(begin), json.dumps(dict(answer.headers))
    finally:
        services.stop()
        redis.kill()
