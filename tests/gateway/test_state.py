"""What the gateway says of itself: models, streams, alarms, metrics, reference page."""

import base64
import hashlib
import re

import pytest

from broker.events import Alert
from broker.streams import PredictionId, Tag
from tests.gateway.stack import LABELS, EchoWorker, running_gateway, running_worker
from tests.servers import eventually

SENTIMENT = Tag("sentiment")


def values(exposition: str, name: str) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in exposition.splitlines()
        if line.startswith(f"{name}{{")
    }


async def test_the_first_worker_is_seen_long_before_the_next_usual_look(gateway_settings, monkeypatch):
    monkeypatch.setattr("gateway.fleet.REFRESH_S", 60)
    settings = gateway_settings()
    async with running_gateway(settings) as gateway:
        assert (await gateway.client.post("/predict", json={"text": "a"})).status_code == 503
        async with running_worker(EchoWorker(settings)):

            async def answers() -> bool:
                return (await gateway.client.post("/predict", json={"text": "a"})).status_code == 200

            await eventually(answers, "it answers")


async def test_models_are_listed_with_labels_and_metrics(client):
    (model,) = (await client.get("/v1/models")).json()["models"]
    assert (model["name"], model["live"], model["available"], model["workers"]) == ("sentiment", "1", True, 1)
    assert model["versions"][0]["labels"] == list(LABELS)
    assert model["versions"][0]["metrics"] == {"accuracy": 0.9}
    assert (await client.get("/v1/models/sentiment")).json() == model


async def test_streams_show_what_waits(client, worker):
    worker.holding.clear()
    await client.post("/predict", json={"text": "a"}, headers={"prefer": "respond-async"})
    (state,) = (await client.get("/v1/streams")).json()["streams"]
    assert (state["model"], state["stream"], state["group"]) == ("sentiment", "requests", "workers")
    assert state["lag"] + state["pending"] == 1
    worker.holding.set()


async def test_alerts_come_newest_first(client, redis):
    for at_ms in (1, 2):
        alert = Alert(
            alert_id=str(at_ms),
            state="firing",
            detector="psi",
            feature="words",
            severity="ticket",
            version="1",
            statistic=0.3,
            threshold=0.2,
            summary="words drift",
            evidence={"window": 5},
            at_ms=at_ms,
        )
        await redis.xadd(SENTIMENT.alerts, alert.to_fields())
    found = (await client.get("/v1/alerts")).json()["alerts"]
    assert [alert["at_ms"] for alert in found] == [2, 1]
    assert found[0]["evidence"] == {"window": 5}


async def test_alive_and_ready_say_no_more_than_that(client):
    alive, ready = await client.get("/healthz"), await client.get("/readyz")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


async def test_odd_names_make_no_new_metric(client):
    await client.post("/predict", json={"text": "a"})
    before = (await client.get("/metrics")).text
    for number in range(50):
        await client.get(f"/odd/{number}")
        await client.post(f"/v1/models/odd{number}/predict", json={"text": "a"})
        await client.request(f"ODD{number}", "/predict")
    after = (await client.get("/metrics")).text
    assert len(after.splitlines()) - len(before.splitlines()) <= 10
    counted = values(after, "observa_requests_total")
    assert counted['observa_requests_total{model="sentiment",status="200"}'] == 1
    assert counted['observa_requests_total{model="other",status="404"}'] == 100
    assert 'observa_request_duration_seconds_count{model="sentiment"} 1.0' in after


async def test_every_example_of_the_reference_runs(client, redis):
    dead = (
        await redis.xadd(SENTIMENT.dead, {"id": str(PredictionId.new(SENTIMENT)), "entry": '["text","a"]'})
    ).decode()
    known = (await client.post("/predict", json={"text": "a"})).json()["id"]
    await redis.set(SENTIMENT.explainer, "test")
    document = (await client.get("/openapi.json")).json()
    names = {"model": "sentiment", "version": "1", "prediction_id": known, "dead_id": dead}
    names |= {"explanation_id": known, "stream": "requests"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            url = re.sub(r"{(\w+)}", lambda match: names[match[1]], path)
            content = operation.get("requestBody", {"content": {}})["content"]
            bodies = [e["value"] for media in content.values() for e in media["examples"].values()] or [None]
            for body in bodies:
                if path == "/feedback" or (body and "id" in body and path == "/v1/explanations"):
                    body = body | {"id": known}  # noqa: PLW2901 - an example's id was never predicted here
                answer = await client.request(method, url, json=body)
                assert str(answer.status_code) in operation["responses"], (path, answer.text)
                wanted = {207} if body and body.get("partial") else {200, 202}
                assert answer.status_code in wanted, (path, answer.text)


async def test_the_reference_page_asks_no_other_host_and_runs_under_its_policy(client):
    page = await client.get("/docs")
    policy = page.headers["content-security-policy"]
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert links
    for link in links:
        assert (await client.get(link)).status_code == 200, link
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("path", ["/healthz", "/predict", "/docs", "/nothing", "/metrics"])
async def test_every_answer_is_safe_to_show_a_browser(client, path):
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers
