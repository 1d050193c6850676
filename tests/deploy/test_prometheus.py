"""Prometheus' rules and Alertmanager's routes: whole, explained, and tried with the tools that read them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS, ALERTMANAGER = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"
INSTALL = "not installed: apt-get install --no-install-recommends prometheus prometheus-alertmanager"
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason=INSTALL)
needs_amtool = pytest.mark.skipif(not shutil.which("amtool"), reason=INSTALL)


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def alerts() -> dict[str, Any]:
    groups = [group for file in sorted((PROMETHEUS / "rules").glob("*.yml")) for group in read(file)["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def cases(alert: str) -> list[dict[str, Any]]:
    tests = [test for file in sorted((PROMETHEUS / "tests").glob("*.yml")) for test in read(file)["tests"]]
    return [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == alert]


def tool(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
@pytest.mark.parametrize("file", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda file: file.stem)
def test_every_case_holds(file):
    assert "SUCCESS" in tool("promtool", "test", "rules", file)


@needs_promtool
@pytest.mark.parametrize("name", ["prometheus.yml", "containers.yml"])
def test_prometheus_accepts_the_configuration(name, tmp_path):
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    (tmp_path / "prometheus" / "targets").mkdir()
    for target in ("gateway", "worker", "monitor", "archive", "alertmanager"):
        (tmp_path / "prometheus" / "targets" / f"{target}.json").write_text("[]")
    assert "5 rule files found" in tool("promtool", "check", "config", tmp_path / "prometheus" / name)


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_an_alert_has_a_case_that_fires_it_and_one_that_does_not(alert):
    assert {bool(case["exp_alerts"]) for case in cases(alert)} == {True, False}


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_an_alert_says_what_it_is_what_to_do_and_where_to_read_on(alert):
    rule = alerts()[alert]
    assert rule["labels"].keys() == {"severity", "area"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["labels"]["area"] in {"service", "quality", "monitor"}
    assert rule["annotations"].keys() == {"summary", "action", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{alert}.md"
    page = (RUNBOOKS / f"{alert}.md").read_text()
    assert page.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [
        "What it means",
        "How to look",
        "What to do",
        "When it clears",
    ]
    assert ("A page:" in page) == (rule["labels"]["severity"] == "page")
    assert f"| [{alert}]({alert}.md) | {rule['labels']['severity']} |" in (RUNBOOKS / "README.md").read_text()


def test_every_runbook_is_of_an_alert_and_its_links_lead_somewhere():
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {*alerts(), "README"}
    for page in RUNBOOKS.glob("*.md"):
        for link in re.findall(r"\]\((\w+\.md)\)", page.read_text()):
            assert (RUNBOOKS / link).exists(), f"{page.name}: {link}"


@needs_amtool
def test_pages_and_tickets_go_their_own_ways_and_to_nobody_by_default():
    assert "SUCCESS" in tool("amtool", "check-config", ALERTMANAGER)
    for severity in ("page", "ticket"):
        route = tool("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}")
        assert route.strip() == severity
    assert read(ALERTMANAGER)["receivers"] == [
        {"name": "page", "webhook_configs": []},
        {"name": "ticket", "webhook_configs": []},
    ]


def test_inhibition_names_alerts_that_exist():
    for rule in read(ALERTMANAGER)["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            label, operator, value = re.fullmatch(r'(\w+)(=~?)"(.*)"', matcher).groups()
            found = {name for name in alerts() if re.fullmatch(value, name)}
            if label == "alertname":
                assert found
                assert operator == "=~" or found == {value}
            else:
                made = f'"{label}", "{value}"'  # by label_replace
                assert any(alert["labels"].get(label) == value or made in alert["expr"] for alert in alerts().values())
