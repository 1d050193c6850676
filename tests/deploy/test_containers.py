"""What the containers are given before they start."""

import hashlib
import os
import re
from pathlib import Path

import pytest
import yaml

from broker.errors import ObservaError
from deploy.containers import prepare
from deploy.local.settings import ROOT, StackSettings

SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


@pytest.fixture
def folder(tmp_path):
    """The volumes as compose.yaml mounts them into the service that prepares them."""
    for volume in SERVICES["setup"]["volumes"]:
        (tmp_path / volume.removeprefix(f"{volume.partition(':')[0]}:/run/observa/")).mkdir()
    return tmp_path


def test_each_service_finds_its_own_password_and_no_other(folder):
    prepare(folder, StackSettings())
    users = (folder / "redis" / "users.acl").read_text()
    given = {}
    for name, service in SERVICES.items():
        user = service.get("environment", {}).get("OBSERVA_REDIS_USER")
        if user is None or name == "setup":
            continue
        (volume,) = (v.partition(":")[0] for v in service["volumes"] if v.endswith(":/run/observa:ro"))
        (mounted,) = (v.partition(":/run/observa/")[2] for v in SERVICES["setup"]["volumes"] if v.startswith(volume))
        (file,) = (folder / mounted).iterdir()
        given[user] = file.read_text().strip()
        digest = hashlib.sha256(given[user].encode()).hexdigest()
        assert re.search(rf"^user {user} on #{digest} ", users, re.MULTILINE), name
    assert len(set(given.values())) == len(given) == 7


def test_what_a_container_is_given_outlasts_a_loss_of_power_and_can_be_read_by_it(folder, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    prepare(folder, StackSettings())
    given = [path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(folder / "setup")]
    assert {path.parent for path in given} <= set(synced)
    assert {path.name for path in given} <= {path.name.rpartition(".")[0].removeprefix(".") for path in synced}
    assert {path.stat().st_mode & 0o777 for path in given} == {0o444}


def test_passwords_stay_when_the_stack_starts_again(folder):
    prepare(folder, StackSettings())
    before = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    prepare(folder, StackSettings())
    assert {path: path.read_text() for path in folder.rglob("*") if path.is_file()} == before


def test_a_webhook_and_the_place_of_runbooks_reach_alertmanager_and_prometheus(folder):
    hook = "https://pager.example/observa"
    prepare(folder, StackSettings(page_webhook_url=hook, runbook_base="https://git.example/observa"))
    receivers = yaml.safe_load((folder / "alertmanager" / "alertmanager.yml").read_text())["receivers"]
    assert [c["url"] for r in receivers if r["name"] == "page" for c in r["webhook_configs"]] == [hook]
    rules = sorted((folder / "prometheus" / "rules").glob("*.yml"))
    assert len(rules) == len(list((ROOT / "deploy/prometheus/rules").glob("*.yml")))
    assert "runbook_url: https://git.example/observa/docs/runbooks/" in "".join(file.read_text() for file in rules)


def test_a_folder_that_is_missing_is_said_in_one_line(tmp_path):
    with pytest.raises(ObservaError, match="remove the volumes"):
        prepare(tmp_path, StackSettings())


def test_what_listens_in_a_container_is_fixed_there_whatever_the_local_stack_is_told():
    told = {
        name
        for line in (ROOT / ".env.example").read_text().splitlines()
        if (name := line.partition("=")[0].removeprefix("#")).endswith(("_HOST", "_PORT", "_PORT_BASE"))
    }
    published = {
        name
        for service in SERVICES.values()
        for port in service.get("ports", ())
        for name in re.findall(r"\w+_PORT", port)
    }
    for name, service in SERVICES.items():
        if "env_file" in service and "build" in service and name not in {"setup", "cli", "trainer"}:
            room = "EXPLAINER" if name == "explainer" else name.upper()
            own = {variable for variable in told if variable.startswith(f"OBSERVA_{room}_")}
            assert own <= service["environment"].keys(), name
    assert published >= {"OBSERVA_GATEWAY_PORT", "OBSERVA_MONITOR_PORT", "OBSERVA_CONSOLE_PORT"}
