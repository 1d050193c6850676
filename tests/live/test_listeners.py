"""Every server of ours, as it runs: a page that rebound a name of its own reads nothing of it."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from broker.http_protocol import MOST_HEADER_BYTES
from tests.live.services import Process, Services
from tests.servers import RedisServer, free_port

MODEL = "sentiment-linear"
SERVERS = {
    "gateway": "/v1/models",
    "console": "/",
    "monitor": "/report",
    "worker": "/metrics",
    "explainer": "/metrics",
    "archive": "/metrics",
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Process]]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    services = Services(
        redis, tmp_path_factory.mktemp("listeners"), model=MODEL, archive=tmp_path_factory.mktemp("archive")
    )
    services.ship(MODEL)
    try:
        found = {}
        for name, variable in {
            "worker": "WORKER_METRICS_PORT_BASE",
            "gateway": "GATEWAY_PORT",
            "monitor": "MONITOR_PORT",
            "archive": "ARCHIVE_PORT",
            "explainer": "EXPLAINER_PORT",
            "console": "CONSOLE_PORT",
        }.items():
            module = "worker.explaining" if name == "explainer" else name
            port = free_port()
            found[name] = services._start(module, port, {f"OBSERVA_{variable}": port})
        for process in found.values():
            process.wait("/healthz")
        yield found
    finally:
        services.stop()
        redis.kill()


@pytest.mark.parametrize("name", SERVERS)
def test_a_name_that_it_does_not_know_is_answered_with_421_and_nothing_else(servers, name):
    url = servers[name].url + SERVERS[name]
    for host, status in {
        "evil.example": 421,
        f"evil.example:{servers[name].port}": 421,
        "localhost": 200,
        f"127.0.0.1:{servers[name].port}": 200,
    }.items():
        answer = httpx.get(url, headers={"Host": host}, timeout=10)
        assert answer.status_code == status, (host, answer.text[:200])
        assert status == 200 or len(answer.content) < 500


@pytest.mark.parametrize("name", SERVERS)
def test_headers_without_an_end_are_not_kept(servers, name):
    with socket.create_connection(("127.0.0.1", servers[name].port), timeout=10) as caller:
        caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (MOST_HEADER_BYTES + 1))
        assert caller.recv(64).startswith(b"HTTP/1.1 431 ")
