"""Prometheus and Alertmanager under the supervisor of `just up`."""

import json
import re
import shutil
import socket
import stat

import httpx
import pytest

from tests.servers import free_port, wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
INSTALL = "apt-get install --no-install-recommends prometheus prometheus-alertmanager"
needs_both = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("prometheus-alertmanager")), reason=f"not installed: {INSTALL}"
)


@pytest.fixture
def watched(stack):
    stack.prometheus_port, stack.alertmanager_port = free_port(), free_port()
    stack.environment |= {
        "OBSERVA_ALERTING": "true",
        "OBSERVA_PROMETHEUS_PORT": str(stack.prometheus_port),
        "OBSERVA_ALERTMANAGER_PORT": str(stack.alertmanager_port),
    }
    return stack


def targets(stack):
    found = httpx.get(f"http://127.0.0.1:{stack.prometheus_port}/api/v1/targets").json()["data"]["activeTargets"]
    return sorted(target["labels"]["instance"] for target in found if target["labels"]["job"] == "observa-worker")


def workers(stack):
    ports = re.findall(r"^worker-\d+ +\d+ +(\d+)", stack.ok("status"), re.MULTILINE)
    return sorted(f"127.0.0.1:{port}" for port in ports)


@needs_both
def test_up_starts_both_and_prometheus_follows_the_number_of_workers(watched):
    said = watched.ok(
        "up", OBSERVA_PAGE_WEBHOOK_URL="http://127.0.0.1:9/page", OBSERVA_RUNBOOK_BASE="https://docs.test/"
    )
    assert f"prometheus   http://127.0.0.1:{watched.prometheus_port}" in said
    assert f"alertmanager http://127.0.0.1:{watched.alertmanager_port}" in said
    for count in (2, 3, 1):  # one that was scaled away is no target, and not down
        if count != 2:
            watched.ok("scale", str(count))
        wait_until(lambda: targets(watched) == workers(watched), f"{count} workers are targets", 40)
        assert len(targets(watched)) == count
    assert "prometheus" in watched.ok("status")
    rules = httpx.get(f"http://127.0.0.1:{watched.prometheus_port}/api/v1/rules?type=alert").json()["data"]["groups"]
    links = {rule["annotations"]["runbook_url"] for group in rules for rule in group["rules"]}
    assert links
    assert all(link.startswith("https://docs.test/docs/runbooks/") for link in links)
    status = httpx.get(f"http://127.0.0.1:{watched.alertmanager_port}/api/v2/status").json()
    assert "url: http://127.0.0.1:9/page" in status["config"]["original"]
    configuration = watched.root / "data" / "alertmanager" / "alertmanager.yml"
    assert stat.S_IMODE(configuration.stat().st_mode) == 0o600
    assert "Stopped" in watched.ok("down")
    for port in (watched.prometheus_port, watched.alertmanager_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


@needs_both
def test_a_prometheus_of_somebody_else_is_left_alone_and_does_not_hinder_up(watched):
    with (
        socket.create_server(("127.0.0.1", watched.prometheus_port)),
        socket.create_server(("127.0.0.1", watched.alertmanager_port)),
    ):
        said = watched.ok("up")
    assert f"prometheus not started: port {watched.prometheus_port} is taken" in said
    assert "set OBSERVA_PROMETHEUS_PORT" in said
    assert watched.run("status")[0] == 0
    written = watched.root / "data" / "prometheus" / "targets" / "alertmanager.json"
    assert json.loads(written.read_text()) == [], "no alert goes to an Alertmanager that is not ours"


def test_without_them_up_says_in_one_line_how_to_install_them(watched, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    said = watched.ok("up", PATH=str(programs))
    lines = [line for line in said.splitlines() if "rometheus" in line]
    assert lines == [f"  Not installed, so no alert is sent: prometheus and alertmanager; to have it: {INSTALL}"]
    assert not (watched.root / "data" / "prometheus").exists()
    watched.ok("down", PATH=str(programs))
