"""What must hold while the stack runs."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from tests.compose.engine import ROOT
from tests.compose.project import Project, eventually

EVERY_SERVICE = (
    *("redis", "gateway", "worker", "explainer", "monitor", "console"),
    *("mlflow", "prometheus", "alertmanager", "grafana"),
)
# Run in the cli's container as its user: how often each id of standard input is in the results, and what is dead.
COUNT = """
import collections, json, sys
from redis import Redis
from broker.settings import BrokerSettings
redis = Redis.from_url(BrokerSettings().url_with_password, decode_responses=True, protocol=2)
wanted, found, start = set(json.load(sys.stdin)), collections.Counter(), "-"
while page := redis.xrange("observa:{sentiment}:results", start, "+", 5000):
    found.update(f["id"] for _, f in page if f.get("role", "live") == "live" and f["id"] in wanted)
    start = "(" + page[-1][0]
print(json.dumps({"once": sum(n == 1 for n in found.values()), "twice": sum(n > 1 for n in found.values()),
                  "dead": redis.xlen("observa:{sentiment}:dead")}))
"""
# Run in the gateway's container as its user: what the server says to what a gateway must never do.
REFUSED = """
from redis import Redis
from redis.exceptions import RedisError
from broker.settings import BrokerSettings
redis = Redis.from_url(BrokerSettings().url_with_password, protocol=2)
def said(*words, by=redis):
    try:
        return str(by.execute_command(*words))
    except RedisError as error:
        return type(error).__name__
nobody = Redis.from_url(BrokerSettings().redis_url, protocol=2)
trim = ("XTRIM", "observa:{sentiment}:requests", "MAXLEN", 0)
print(said("PING"), said("FLUSHALL"), said("CONFIG", "GET", "*"), said(*trim), said("PING", by=nobody))
"""


def the_readmes_curl(project: Project) -> str:
    """The README's own command, at this project's port; the id it answers."""
    (command,) = re.findall(r"^curl -X POST .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    command = command.replace(":8000/", f":{project.ports['GATEWAY']}/").replace("curl", "curl -sS", 1)
    said = json.loads(subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout)
    assert said["label"] == "positive", said
    assert said["confidence"] > 0.8, said
    return str(said["id"])


def feedback(project: Project, known: str) -> None:
    """Labels by HTTP are counted by the monitor, those of the README's curl included."""
    assert project.ask("GATEWAY", "/feedback", {"id": known, "label": "positive"})[0] in {200, 202}
    told = [project.ask("GATEWAY", "/predict", {"text": f"a dull film {n}"})[1]["id"] for n in range(5)]
    for one in told:
        assert project.ask("GATEWAY", "/feedback", {"id": one, "label": "negative"})[0] == 202
    query = 'sum(observa_feedback_total{outcome!="unknown"}) >= 6'
    eventually(lambda: prometheus(project, query), "Prometheus sees the labels that the monitor counted")


def prometheus(project: Project, query: str) -> list[Any]:
    """The series of a query."""
    status, answer = project.ask("PROMETHEUS", f"/api/v1/query?query={quote(query)}")
    assert status == 200, answer
    found: list[Any] = answer["data"]["result"]
    return found


def scraping(project: Project, workers: int) -> str:
    """Prometheus scrapes every service, knows Alertmanager, and evaluates every rule."""
    jobs = {"observa-gateway": 1, "observa-worker": workers, "observa-monitor": 1}

    def up() -> bool:
        found = Counter(series["metric"]["job"] for series in prometheus(project, "up == 1"))
        return dict(found) == jobs

    eventually(up, f"Prometheus scrapes {jobs}")
    (manager,) = project.ask("PROMETHEUS", "/api/v1/alertmanagers")[1]["data"]["activeAlertmanagers"]
    assert "alertmanager:9093" in manager["url"]

    def evaluated() -> list[Any]:
        groups = project.ask("PROMETHEUS", "/api/v1/rules")[1]["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] == "ok" for rule in rules) else []

    rules = eventually(evaluated, "every rule was evaluated without an error")
    return f"{len(rules)} rules"


def an_alert(project: Project) -> None:
    """A monitor that is away is noticed by the shipped rule; back again, it is not."""
    project.compose("stop", "monitor")
    pending = 'ALERTS{alertname="MonitorBlind"}'
    eventually(lambda: prometheus(project, pending), "MonitorBlind is pending while the monitor is away")
    project.compose("start", "monitor")
    eventually(lambda: not prometheus(project, pending), "MonitorBlind is over")


def console(project: Project) -> None:
    """The page is there, and the console reaches the gateway through its own network."""
    status, page = project.ask("CONSOLE", "/")
    assert status == 200, status
    assert "Observa" in page
    (container,) = project.containers("console")
    reach = "import urllib.request as r; print(r.urlopen('http://gateway:8000/v1/models').status)"
    assert project.inside(container, "python3", "-c", reach).stdout.strip() == "200"
    resolve = "import socket; socket.gethostbyname('redis')"
    assert "gaierror" in project.inside(container, "python3", "-c", resolve).stderr, "the console reaches Redis"


def explainer(project: Project, known: str) -> str:
    """Which words made the README's answer."""
    status, _ = project.ask("GATEWAY", "/v1/explanations", {"id": known})
    assert status in {200, 202}, status

    def done() -> Any:
        status, answer = project.ask("GATEWAY", f"/v1/explanations/{known}")
        return answer if status == 200 else None

    words = eventually(done, "the explanation is done", 90)["words"]
    heaviest = max(words, key=lambda word: word["weight"])
    assert "amazing" in json.dumps(heaviest), words
    return json.dumps(heaviest)


def mlflow(project: Project) -> None:
    """The server answers to its name inside, to loopback outside, and to nobody else's name."""
    asked = "/api/2.0/mlflow/experiments/search?max_results=5"
    assert project.ask("TRAINER_MLFLOW", asked)[0] == 200
    assert project.ask("TRAINER_MLFLOW", asked, Host="evil.example")[0] == 403


def grafana(project: Project) -> str:
    """The dashboard is there for whoever looks, and its source has data."""
    if project.ask("GRAFANA", "/api/health")[1].get("database") != "a stand-in":
        assert project.ask("GRAFANA", "/api/dashboards/uid/observa")[0] == 200
        asked = project.ask("GRAFANA", "/api/datasources/proxy/uid/observa-prometheus/api/v1/query?query=up")
        assert asked[1]["data"]["result"], asked
        return "Grafana itself"
    asked = project.ask("GRAFANA", "/panels")[1]
    with_data = [title for title, _, count in asked if count]
    assert len(with_data) > len(asked) / 3, asked
    return f"{len(with_data)} of {len(asked)} questions of the dashboard have data"


def hardening(project: Project, services: Iterable[str] = EVERY_SERVICE) -> None:
    """No container runs as root, may write its root, or keeps a capability; Redis is published nowhere."""
    for service in services:
        for container in project.containers(service):
            status = project.inside(container, "cat", "/proc/1/status").stdout
            assert not re.search(r"^Uid:.*\b0\b", status, re.MULTILINE), f"{service} is root"
            assert re.search(r"^CapEff:\s0+$", status, re.MULTILINE), f"{service} has capabilities"
            assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE), service
            tried = project.inside(container, "sh", "-c", "echo > /etc/tried")
            assert tried.returncode, service
            assert "Read-only" in tried.stderr, tried.stderr
            host = project.inspect(container)["HostConfig"]
            assert host["Memory"] > 0, service
            assert host["PidsLimit"] > 0, service
            bindings = [place["HostIp"] for places in (host["PortBindings"] or {}).values() for place in places]
            assert set(bindings) <= {"127.0.0.1"}, bindings
            if service == "redis":
                assert not bindings


def users(project: Project) -> None:
    """Redis knows users and nobody else: a gateway may do what it must, and no more."""
    (gateway,) = project.containers("gateway")
    said = project.inside(gateway, "python3", "-c", REFUSED).stdout.split()
    refused = ["NoPermissionError"] * 3
    assert said == ["True", *refused, "AuthenticationError"], said
    files = project.inside(gateway, "ls", "/run/observa").stdout.split()
    assert files == ["redis.password"], files


def counted(project: Project, ids: Iterable[str]) -> dict[str, int]:
    """How many of *ids* are in the results once, how many more often, and how many entries are dead."""
    run = ("docker", "compose", "run", "--rm", "-T", "--no-deps", "--entrypoint", "python3", "cli", "-c", COUNT)
    found: dict[str, int] = json.loads(project.run(*run, given=json.dumps(list(ids))))
    return found
