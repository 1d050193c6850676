"""A subject is forgotten while the real services run, and everybody's position stays known."""

import httpx
import pytest
from redis import Redis

from broker.streams import Tag
from cli.__main__ import main
from tests.live.services import Services
from tests.servers import RedisServer, wait_until

MODEL = "strange"
TAG = Tag(MODEL)

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def test_a_subject_is_forgotten_beside_running_readers(
    services: Services, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    services.worker()
    monitor = services.monitor()
    gateway = services.gateway()
    monkeypatch.setenv("OBSERVA_REDIS_URL", own_server.url)
    with httpx.Client(base_url=gateway.url, timeout=20) as client, Redis(port=own_server.port) as look:
        for subject in ("bob", "alice"):
            answers = [
                client.post(
                    "/predict", json={"text": f"good {subject}-wrote-it", "subject": subject, "true_label": "positive"}
                )
                for _ in range(5)
            ]
            assert {answer.status_code for answer in answers} == {200}
        hers = [answer.json()["id"] for answer in answers]
        assert main(["forget", "alice", "--model", MODEL]) == 0
        assert "5 erased from results" in capsys.readouterr().out
        assert {client.get(f"/v1/predictions/{each}").status_code for each in hers} == {404}
        assert client.post("/feedback", json={"id": hers[0], "label": "negative"}).status_code == 404
        held = repr([look.xrange(TAG.key(name)) for name in ("requests", "results", "feedback", "dead")])
        assert "alice" not in held
        assert not any(each in held for each in hers)
        assert held.count("bob-wrote-it") == 5
        assert client.post("/predict", json={"text": "good"}).status_code == 200

        def caught_up() -> bool:
            streams = client.get("/v1/streams").json()["streams"]
            return len(streams) == 3 and all(stream["lag"] == 0 for stream in streams)

        wait_until(caught_up, "every lag is known, and 0", 20)
        gaps = httpx.get(f"{monitor.url}/report/{MODEL}", timeout=10).json()["monitor"]["gaps"]
        assert not any(gaps.values())
        numbers = httpx.get(f"{monitor.url}/metrics", timeout=10).text
        assert [
            line for line in numbers.splitlines() if "unreadable" in line and line[0] != "#" and line[-4:] != " 0.0"
        ] == []
