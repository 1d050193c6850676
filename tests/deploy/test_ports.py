"""What `just up` opens: every address that a process of the stack listens on, by looking and by knocking."""

import re
import socket
import subprocess
import sys

import httpx
import psutil
import pytest

from tests.deploy.conftest import ROOT, Stack

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture
def real(tmp_path):
    stack = Stack(tmp_path, tree=ROOT)
    yield stack
    stack.end()


def opened(stack: Stack) -> set[tuple[str, int]]:
    """Address and port of every TCP listener and every bound UDP socket of the supervisor and what it started."""
    supervisor = psutil.Process(stack.pid("supervisor"))
    return {
        (found.laddr.ip, found.laddr.port)
        for process in [supervisor, *supervisor.children(recursive=True)]
        for found in process.net_connections(kind="inet")
        if found.status == psutil.CONN_LISTEN or found.type == socket.SOCK_DGRAM
    }


def other_addresses() -> list[str]:
    """This machine's IPv4 addresses that other machines may know."""
    found = [address for addresses in psutil.net_if_addrs().values() for address in addresses]
    return [a.address for a in found if a.family == socket.AF_INET and not a.address.startswith("127.")]


def answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


def test_just_up_opens_these_ports_on_loopback_and_nothing_else(real):
    real.ok("up")
    workers = int(real.environment["OBSERVA_WORKER_METRICS_PORT_BASE"])
    ports = {real.redis_port, real.gateway_port, real.monitor_port, workers, workers + 1}
    assert opened(real) == {("127.0.0.1", port) for port in ports}
    for port in ports:
        assert answers("127.0.0.1", port)
        assert [address for address in other_addresses() if answers(address, port)] == []


def test_an_open_address_is_refused_as_long_as_nobody_made_a_key(real):
    code, said = real.run("up", OBSERVA_GATEWAY_HOST="0.0.0.0", OBSERVA_WORKERS="1")
    assert code == 2
    assert "just keys create NAME" in said.splitlines()[-1]
    assert "OBSERVA_GATEWAY_AUTH=none" in said.splitlines()[-1]
    assert not (real.root / "run" / "processes" / "gateway").exists() or not answers("127.0.0.1", real.gateway_port)


@pytest.mark.parametrize("host", ["::1", "127.0.0.2"])
def test_wherever_it_listens_its_addresses_and_commands_are_right(real, host):
    real.environment |= {f"OBSERVA_{name}_HOST": host for name in ("GATEWAY", "MONITOR", "WORKER_METRICS")}
    said = real.ok("up", OBSERVA_WORKERS="1")
    assert {found for found, _ in opened(real)} == {"127.0.0.1", host}  # the first is the log's
    printed = re.findall(r"http://\S+", said)
    place = f"[{host}]" if ":" in host else host
    assert f"http://{place}:{real.gateway_port}/docs)" in printed
    assert f"http://{place}:{real.monitor_port}" in printed
    for url in printed:
        assert httpx.get(url.rstrip(")"), timeout=10).status_code in {200, 404, 405}
    predicted = subprocess.run(
        [sys.executable, "-m", "cli", "predict", "good"],
        cwd=ROOT, env=real.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert predicted.returncode == 0, predicted.stderr
    assert real.ok("status").count("  ready") == 4
