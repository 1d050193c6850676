"""Real Prometheus and Alertmanager with the shipped rules and routes, made quick: the same expressions, short times."""

import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml

from tests.servers import free_port, wait_until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
INSTALL = "apt-get install --no-install-recommends prometheus prometheus-alertmanager"
PROMETHEUS = shutil.which("prometheus")
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
needs_prometheus = pytest.mark.skipif(not (PROMETHEUS and ALERTMANAGER), reason=f"not installed: {INSTALL}")


def rules() -> list[dict[str, Any]]:
    """Every recording and alerting rule that is shipped."""
    files = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


class Receiver:
    """Somebody's webhook: keeps what it is told."""

    def __init__(self) -> None:
        told: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.extend({**alert, "receiver": body["receiver"]} for alert in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.told = told
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def was_told(self, status: str, **labels: str) -> list[dict[str, Any]]:
        return [a for a in self.told if a["status"] == status and labels.items() <= a["labels"].items()]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Watching:
    """Prometheus and Alertmanager that look at *targets*, by job, and tell *receiver*."""

    def __init__(self, folder: Path, targets: dict[str, list[int]], receiver: Receiver) -> None:
        self.url, self.alerts_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        (folder / "rules").mkdir(parents=True)
        (folder / "targets").mkdir()
        for file in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
            text = re.sub(r"^( +(?:for|keep_firing_for)): \w+$", r"\1: 1s", file.read_text(), flags=re.MULTILINE)
            (folder / "rules" / file.name).write_text(text)
        text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
        (folder / "prometheus.yml").write_text(re.sub(r"((?:scrape|evaluation)_interval): \w+", r"\1: 1s", text))
        text = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
        text = re.sub(r"(group_(?:wait|interval)): \w+", r"\1: 1s", text)
        told = orjson.dumps([{"url": receiver.url, "send_resolved": True}]).decode()
        (folder / "alertmanager.yml").write_text(text.replace("webhook_configs: []", f"webhook_configs: {told}"))
        ports = targets | {"alertmanager": [int(self.alerts_url.rpartition(":")[2])]}
        for name, numbers in ports.items():
            addresses = [f"127.0.0.1:{number}" for number in numbers]
            (folder / "targets" / f"{name}.json").write_bytes(orjson.dumps([{"targets": addresses}]))
        self._folder = folder
        self._processes = [
            self._start(
                ALERTMANAGER, self.alerts_url, "alertmanager.yml", "--storage.path", "--cluster.listen-address="
            ),
            self._start(PROMETHEUS, self.url, "prometheus.yml", "--storage.tsdb.path"),
        ]
        for url in (self.url, self.alerts_url):
            wait_until(lambda url=url: _ready(url), f"{url} is ready")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result = answer["data"]["result"]
        return result if isinstance(result, list) else [result]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(10)

    def _start(self, program: str | None, url: str, file: str, storage: str, *more: str) -> subprocess.Popen[bytes]:
        name = file.partition(".")[0]
        assert program
        command = [program, f"--config.file={self._folder / file}", f"{storage}={self._folder / f'{name}-data'}"]
        command += [f"--web.listen-address={url.removeprefix('http://')}", "--log.level=warn", *more]
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False
