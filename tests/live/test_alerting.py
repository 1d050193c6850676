"""Real services, a real Prometheus and a real Alertmanager: from an entry of the log to somebody's webhook."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest

from deploy.grafana.dashboards import ROWS
from tests.live.prometheus import DEPLOY, Receiver, Watching, needs_prometheus, rules
from tests.live.services import Process, Services, make_model
from tests.servers import RedisServer, wait_until

pytestmark = [needs_prometheus, pytest.mark.timeout(300)]
MODEL = "sentiment-linear"
METRIC = re.compile(r"(?<![\w:])(?:observa|process)_[a-z0-9_]+\b(?!:)")
# What no series shows as long as nothing is wrong; tests/deploy/test_grafana.py shows that they work.
QUIET = {"observa_redeliveries_total", "observa_worker_read_failures_total", "observa_unreadable_entries_total"}
SILENT_WHILE_NOTHING_WAITS = "model:observa_workers_wanted:by_age"  # what fell behind and was caught up asks for nobody


@dataclass
class Observed:
    gateway: Process
    processes: list[Process]
    watching: Watching
    receiver: Receiver

    def send(self, model: str, texts: list[str], labels: list[str | None]) -> None:
        body = {"texts": texts, "true_label": labels, "tags": {"channel": "web"}}
        answer = httpx.post(f"{self.gateway.url}/v1/models/{model}/predict", json=body, timeout=40).raise_for_status()
        first = {"id": answer.json()["predictions"][0]["id"], "label": "positive"}
        httpx.post(f"{self.gateway.url}/feedback", json=first, timeout=10).raise_for_status()


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """Services under load: two models, labels, and one text that makes a model fail."""
    folder = tmp_path_factory.mktemp("observed")
    server, receiver = RedisServer(folder), Receiver()
    server.start()
    services = Services(server, tmp_path_factory.mktemp("services"), claim_ms=1000, model=MODEL)
    services.ship(MODEL)
    make_model(services.models, "strange")
    started = []
    try:
        archive = services.archive(OBSERVA_ARCHIVE=folder / "archive")
        processes = [services.worker(), services.gateway(), services.monitor(), archive]
        targets = dict(zip(("worker", "gateway", "monitor", "archive"), ([p.port] for p in processes), strict=True))
        started.append(watching := Watching(folder / "watching", targets, receiver))
        observed = Observed(processes[1], processes, watching, receiver)
        _load(observed)
        yield observed
    finally:
        for watching in started:
            watching.stop()
        services.stop()
        receiver.close()
        server.kill()


def _load(observed: Observed) -> None:
    for turn in range(6):
        texts = [f"what a {'fine' if i % 2 else 'dull'} film, said number {turn} {i}" for i in range(64)]
        observed.send(MODEL, texts, ["positive" if i % 2 else "negative" for i in range(64)])
        answer = httpx.post(f"{observed.gateway.url}/v1/models/strange/predict", json={"text": "RAISE"}, timeout=40)
        assert answer.status_code == 502
        time.sleep(1)  # the interval of scraping: a rate needs two different samples


def panels() -> dict[str, str]:
    """Every expression of the dashboard with its variables filled in, by the panel's title."""
    return {
        f"{title}: {panel.title} {number}": query.expression.replace("$__rate_interval", "1m").replace("$model", ".*")
        for title, row in ROWS.items()
        for panel in row
        for number, query in enumerate(panel.queries)
    }


def test_every_metric_of_rules_and_dashboards_is_in_a_scrape_of_the_live_services(observed):
    scraped = set[str]()
    for process in observed.processes:
        for line in httpx.get(f"{process.url}/metrics").text.splitlines():
            if line.startswith("# TYPE "):
                scraped.add(line.split()[2])
    named = set(METRIC.findall(" ".join([*panels().values(), *(rule["expr"] for rule in rules())])))
    assert len(named) > 25
    families = {name if name in scraped else re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    assert families <= scraped


def test_every_expression_of_the_dashboard_returns_data(observed):
    expected = {title: query for title, query in panels().items() if not any(f"{name}{{" in query for name in QUIET)}
    assert len(expected) > 40
    missing = dict(expected)

    def all_have_data() -> bool:
        for title in [title for title, query in missing.items() if observed.watching.query(query)]:
            del missing[title]
        return not missing

    with suppress(pytest.fail.Exception):
        wait_until(all_have_data, "every expression has data", 30)
    assert not missing


def test_recorded_ratios_have_data_and_alerts_that_have_no_reason_do_not(observed):
    for rule in rules():
        if "record" in rule and rule["record"] != SILENT_WHILE_NOTHING_WAITS:
            wait_until(lambda n=rule["record"]: observed.watching.query(n), f"{rule['record']} has data", 30)
    wrong = {a["metric"]["alertname"] for a in observed.watching.query('ALERTS{alertstate="firing"}')}
    assert not wrong & {
        *("NoWorker", "WorkerDown", "GatewayDown", "MonitorBlind", "SnapshotOld", "LogGap", "RequestsLost"),
        *("ServiceRestarting", "BacklogOld", "BrokerFull", "BrokerFailing", "UnreadableEntries", "MeasurementFails"),
    }
    wait_until(lambda: observed.receiver.was_told("firing", alertname="DeadLetters", model="strange"), "a ticket", 30)


def test_wrong_labels_page_accuracy_below_target_and_right_labels_resolve_it(observed):
    told = observed.receiver.was_told
    about = {"alertname": "AccuracyBelowTarget", "model": "strange"}
    for _ in range(5):
        observed.send("strange", ["good"] * 64, ["negative"] * 64)
    wait_until(lambda: told("firing", **about), "the webhook is told of wrong answers", 30)
    page = told("firing", **about)[0]
    assert page["receiver"] == "page"
    assert page["labels"]["version"] == "1"
    assert "below the model's target" in page["annotations"]["summary"]
    assert (DEPLOY.parent / page["annotations"]["runbook_url"]).exists()
    wait_until(lambda: told("firing", alertname="AccuracyAlarm", model="strange"), "the detector pages as well", 30)
    assert not told("resolved", **about)
    for _ in range(24):
        observed.send("strange", ["good"] * 64, ["positive"] * 64)
    wait_until(lambda: told("resolved", **about), "the webhook is told that it is over", 30)


@pytest.fixture
def fire(observed) -> Iterator[Callable[..., None]]:
    """Tell Alertmanager of alerts that end with the test: what they inhibit is told of again."""
    url, fired = f"{observed.watching.alerts_url}/api/v2/alerts", list[dict[str, str]]()

    def fire(*alerts: dict[str, str]) -> None:
        fired.extend(alerts)
        httpx.post(url, json=[{"labels": alert} for alert in alerts]).raise_for_status()

    yield fire
    over = datetime.now(UTC).isoformat()
    httpx.post(url, json=[{"labels": alert, "endsAt": over} for alert in fired]).raise_for_status()


def test_a_blind_monitor_inhibits_what_is_said_of_the_model_and_no_worker_what_follows_from_it(observed, fire):
    blind = {"alertname": "MonitorBlind", "severity": "page", "area": "monitor"}
    fire(
        {**blind, "cause": "behind", "model": "unseen"},
        {"alertname": "InputDrift", "severity": "ticket", "area": "quality", "model": "unseen"},
        {"alertname": "InputDrift", "severity": "ticket", "area": "quality", "model": "other"},
        {"alertname": "NoWorker", "severity": "page", "area": "service"},
        {"alertname": "LatencyBudgetBurnsFast", "severity": "page", "area": "service", "model": "other"},
        {"alertname": "DeadLetters", "severity": "ticket", "area": "service", "model": "other"},
    )

    def inhibited(model: str) -> set[str]:
        url = f"{observed.watching.alerts_url}/api/v2/alerts"
        found = httpx.get(url, params={"filter": f'model="{model}"'}).json()
        return {alert["labels"]["alertname"] for alert in found if alert["status"]["inhibitedBy"]}

    wait_until(lambda: inhibited("unseen") == {"InputDrift"}, "the monitor is blind to one model")
    wait_until(lambda: inhibited("other") == {"LatencyBudgetBurnsFast"}, "no worker, and it sees the other model")
    fire({**blind, "cause": "down"})
    wait_until(lambda: inhibited("other") == {"InputDrift", "LatencyBudgetBurnsFast"}, "two are inhibited, one is not")
    wait_until(lambda: observed.receiver.was_told("firing", alertname="DeadLetters", model="other"), "a ticket")
    assert not observed.receiver.was_told("firing", alertname="LatencyBudgetBurnsFast", model="other")
