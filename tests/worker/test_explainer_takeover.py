"""An explainer that dies over a text, and another that finishes it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from broker.streams import EXPLAINERS, Tag
from tests.live.services import Services
from tests.servers import RedisServer, wait_until

pytest.importorskip(
    "shap", reason="the explainer's libraries are missing: uv pip install -r requirements/explainer.txt"
)
pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

MODEL = "sentiment"
TAG = Tag(MODEL)
LONG = "It is a charming film, although the ending drags a little. " * 8


@pytest.fixture
def services(own_server: RedisServer, tmp_path: Path) -> Iterator[Services]:
    services = Services(own_server, tmp_path, model=MODEL, explainer_claim_ms=2000, explainer_evaluations=2000)
    services.ship(MODEL)
    yield services
    services.stop()


def test_what_an_explainer_left_when_it_was_killed_another_finishes(services: Services) -> None:
    services.worker("worker", wait=False)
    gateway = services.gateway(ready=False)
    first = services.explainer()
    gateway.wait("/readyz")
    with httpx.Client(base_url=gateway.url, timeout=30) as client, Redis(port=services.server.port) as look:
        asked = client.post("/v1/explanations", json={"text": LONG, "model": MODEL, "version": "1"})
        assert asked.status_code == 202
        place = asked.headers["location"]
        wait_until(lambda: client.get(place).json().get("progress", 0) > 0, "it is being explained")
        first.kill()
        second = services.explainer(OBSERVA_EXPLAINER_EVALUATIONS=64)
        wait_until(lambda: client.get(place).status_code == 200, "another finished it")
        found = client.get(place).json()
        assert found["status"] == "done"
        assert "".join(word["text"] for word in found["words"]).split() == LONG.split()
        assert look.xlen(TAG.explain) == 0
        assert look.xpending(TAG.explain, EXPLAINERS)["pending"] == 0
        assert second.alive
