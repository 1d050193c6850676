"""What callers, operators and the archive do, on a cluster with four shards."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis.cluster import RedisCluster

from broker.archived import Archive
from broker.streams import PredictionId, Tag
from cli.__main__ import main
from deploy.local.doctor_log import examine_log
from deploy.local.redis_command import run as redis_command
from deploy.local.settings import StackSettings
from tests.ha.conftest import MODEL
from tests.ha.topologies import Cluster
from tests.live.services import Services, make_model
from tests.servers import wait_until

SHARDS = 4


@pytest.fixture
def services(cluster: Cluster, tmp_path: Path) -> Iterator[Services]:
    archive = tmp_path / "archive"
    services = Services(
        cluster, tmp_path, claim_ms=1000, model=MODEL, shards=SHARDS, archive=archive, archive_flush_s=1
    )
    make_model(services.models, MODEL)
    yield services
    services.stop()


def on_shard(client: httpx.Client, shard: int, text: str) -> str:
    """Send *text* until its id is of *shard*; return the id."""
    while True:
        answer = client.post("/predict", json={"text": text}).json()
        if PredictionId.parse(answer["id"]).tag.shard == shard:
            return str(answer["id"])


def test_every_command_and_route_works_on_every_shard(services, cluster, monkeypatch, capsys):
    services.worker()
    gateway, _ = services.gateway(), services.archive()
    for name, value in (services.settings | {"OBSERVA_REDIS_URL": cluster.url}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OBSERVA_MODELS", str(services.models))
    with httpx.Client(base_url=gateway.url, timeout=35) as client:
        ids = [on_shard(client, shard, "good") for shard in range(SHARDS)]
        for one in ids:
            assert client.post("/feedback", json={"id": one, "label": "negative"}).status_code == 202
        several = client.post("/predict", json={"texts": ["good", "bad"] * 10}).json()["predictions"]
        assert [one["label"] for one in several] == ["positive", "negative"] * 10
        buried = on_shard(client, 2, "RAISE")
        results = client.get(f"/v1/streams/{MODEL}/results?count=200").json()
        assert {PredictionId.parse(one["fields"]["id"]).tag.shard for one in results["entries"]} == set(range(SHARDS))
        assert results["length"] == len(results["entries"])
        letters = client.get(f"/v1/streams/{MODEL}.2/dead").json()["entries"]
        (letter,) = [one["name"] for one in letters if one["fields"]["id"] == buried]
        assert client.post(f"/v1/dead/{letter}/redrive", json={}).status_code == 202
        assert {one["shard"] for one in client.get("/v1/streams").json()["streams"]} == set(range(SHARDS))
    for command in (["log", "--model", MODEL], ["dead", "--model", MODEL], ["forget", ids[3], "--wait", "20"]):
        assert main(command) == 0, command
    assert "erased from requests" in capsys.readouterr().out
    settings = StackSettings()
    findings = asyncio.run(examine_log(settings))
    said = [one.what for one in findings]
    assert all(any(what.startswith(f"dead letters {Tag(MODEL, shard)}:") for what in said) for shard in range(SHARDS))
    assert sum(what.startswith("server: valkey") for what in said) == 3
    redis_command(settings, ["XLEN", Tag(MODEL, 1).results])
    assert int(capsys.readouterr().out) > 0
    with cluster.look() as look:
        wait_until(lambda: _archived(look, services.folder / "archive"), "the archive holds every shard's results")


def _archived(look: RedisCluster, archive: Path) -> bool:
    tags = [Tag(MODEL, shard) for shard in range(SHARDS)]
    kept = Archive(str(archive))
    return all(sum(1 for _ in kept.entries(tag, "results")) == look.xlen(tag.results) > 0 for tag in tags)


def test_the_doctor_knows_of_shards_that_a_setting_leaves_out(cluster, monkeypatch):
    with cluster.look() as look:
        look.set(Tag(MODEL, 1).born, "x")
    monkeypatch.setenv("OBSERVA_REDIS_URL", cluster.url)
    monkeypatch.setenv("OBSERVA_MODEL", MODEL)
    findings = asyncio.run(examine_log(StackSettings(redis_password_file=None)))
    assert any("OBSERVA_SHARDS=1 leaves it out" in one.what for one in findings)
