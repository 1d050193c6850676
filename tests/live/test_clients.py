"""Other people's HTTP clients and proxies with the settings that they have by themselves, against the real gateway."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.live.proxies import running
from tests.live.services import ROOT, Process, Services
from tests.servers import RedisServer, free_port

MODEL = "sentiment-linear"
CLIENTS = Path(__file__).parent / "clients"
BODY = json.dumps({"text": "a wonderful film \N{SMILING FACE WITH OPEN MOUTH}" * 100})
KSERVE = ROOT / ".venv-kserve" / "bin" / "python"
TIMES = 20
# What most guides to WebSockets tell people to put in front of everything.
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://gateway;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
    }}
  }}
}}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    services = Services(redis, tmp_path_factory.mktemp("clients"), model=MODEL)
    services.ship(MODEL)
    try:
        services.worker("worker", wait=False)
        yield services.gateway()
    finally:
        services.stop()
        redis.kill()


@contextmanager
def nginx(folder: Path, gateway: Process) -> Iterator[str]:
    """Run nginx before the gateway and give its address."""
    port = free_port()
    settings = folder / "nginx.conf"
    settings.write_text(NGINX.format(folder=folder, gateway=gateway.port, port=port))
    command = ["nginx", "-p", str(folder), "-c", str(settings), "-e", str(folder / "error.log")]
    with running(command, port):
        yield f"http://127.0.0.1:{port}"


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(("java", "Predict.java"), marks=needs("javac"), id="java"),
        pytest.param(("node", "predict.mjs"), marks=needs("node"), id="node"),
    ],
)
def test_a_language_s_own_client_is_answered_with_its_own_settings(gateway, client):
    program, file = client
    command = [program, str(CLIENTS / file), gateway.url, BODY, str(TIMES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    answers = done.stdout.splitlines()
    assert len(answers) == 2 * TIMES, done.stdout + done.stderr
    assert {line[:4] for line in answers} == {"200 "}, answers
    assert {json.loads(line[4:])["label"] for line in answers} == {"positive"}


@pytest.mark.skipif(not KSERVE.exists(), reason="KServe's client is not installed; just test installs it")
def test_kserves_client_is_answered_with_its_own_settings(gateway):
    command = [str(KSERVE), str(CLIENTS / "kserve_calls.py"), gateway.url, MODEL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answers = ["7", MODEL, ["positive", "negative"]]
    assert json.loads(done.stdout) == {
        **dict.fromkeys(("server live", "server ready", "model ready"), True),
        **dict.fromkeys(("binary False", "binary True"), answers),
        "refused": "No worker has ever announced this model, '404 Not Found'",
    }


@needs("curl")
@pytest.mark.parametrize("more", [[], ["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"]])
def test_curl_may_offer_http_2(gateway, tmp_path, more):
    (tmp_path / "body").write_text(BODY)
    post = ["--http2", "-H", "Content-Type: application/json", *more, "--data-binary", f"@{tmp_path}/body"]
    command = ["curl", "-sS", "--max-time", "20", *post, f"{gateway.url}/predict"]
    done = subprocess.run([*command, "--next", *command[1:]], capture_output=True, text=True, check=True)
    assert done.stdout.count('"label":"positive"') == 2, done.stdout


@needs("nginx")
def test_behind_a_proxy_that_passes_upgrades_on_each_caller_gets_its_own_answer(gateway, tmp_path):
    smuggled = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20
    hidden = json.dumps({"text": "good"}) + "\r\n" * 15_000 + smuggled  # blank lines may come before a request

    def attack(address: str) -> None:
        headers = {"Content-Type": "application/json", "Connection": "Upgrade", "Upgrade": "websocket"}
        assert (
            httpx.post(f"{address}/predict", content=hidden, headers=headers, timeout=20).json()["code"]
            == "invalid_json"
        )

    def ask(address: str) -> tuple[int, str]:
        answer = httpx.post(
            f"{address}/predict", content=BODY, headers={"Content-Type": "application/json"}, timeout=20
        )
        return answer.status_code, answer.json()["label"]

    with nginx(tmp_path, gateway) as address, ThreadPoolExecutor(4) as pool:
        for _ in range(TIMES):
            attacks = [pool.submit(attack, address) for _ in range(2)]
            asked = [pool.submit(ask, address) for _ in range(4)]
            assert {one.result() for one in asked} == {(200, "positive")}
            for one in attacks:
                one.result()
