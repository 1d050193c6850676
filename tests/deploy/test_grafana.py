"""Grafana's files: current, typed, and consistent with each other. Loading them into a server is not tried here."""

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from deploy.grafana.__main__ import write
from deploy.grafana.dashboards import ROWS, SOURCE
from deploy.grafana.rules import RULES

GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
PAGE = json.loads((GRAFANA / "dashboards" / "observa.json").read_text())


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Range(Strict):
    start: int = Field(alias="from")
    to: int


class PrometheusModel(Strict):
    ref_id: str
    expr: str
    instant: Literal[True]
    range: Literal[False]


class MathModel(Strict):
    ref_id: str
    type: Literal["math"]
    expression: str


class AlertQuery(Strict):
    ref_id: str
    relative_time_range: Range
    datasource_uid: Literal["observa-prometheus", "__expr__"]
    model: PrometheusModel | MathModel


class AlertRule(Strict):
    uid: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,40}$")
    title: str
    condition: str
    data: list[AlertQuery]
    no_data_state: Literal["OK"]
    exec_err_state: Literal["Error"]
    duration: str = Field(alias="for", pattern=r"^\d+[smh]$")
    labels: dict[str, str]
    annotations: dict[str, str]


class Group(Strict):
    org_id: int
    name: str
    folder: str
    interval: str = Field(pattern=r"^\d+[smh]$")
    rules: list[AlertRule]


class Alerting(Strict):
    """What Grafana reads from provisioning/alerting; no contactPoints and no policies: Prometheus owns paging."""

    api_version: Literal[1]
    groups: list[Group]


class SourceOptions(Strict):
    http_method: Literal["POST", "GET"]
    time_interval: str
    manage_alerts: bool


class DataSource(Strict):
    name: str
    uid: str
    type: Literal["prometheus"]
    access: Literal["proxy"]
    url: str
    is_default: bool
    editable: bool
    json_data: SourceOptions


class DataSources(Strict):
    api_version: Literal[1]
    datasources: list[DataSource]


class Folder(Strict):
    path: str


class Provider(Strict):
    name: str
    type: Literal["file"]
    folder: str
    disable_deletion: bool
    allow_ui_updates: bool
    update_interval_seconds: int
    options: Folder


class Providers(Strict):
    api_version: Literal[1]
    providers: list[Provider]


def provisioned(name: str) -> Any:
    return yaml.safe_load((GRAFANA / "provisioning" / name).read_text())


def values(tree: Any, key: str) -> list[Any]:
    """Every value under *key*, however deep."""
    if isinstance(tree, dict):
        return [v for k, v in tree.items() if k == key] + [v for child in tree.values() for v in values(child, key)]
    return [v for child in tree for v in values(child, key)] if isinstance(tree, list) else []


def test_the_committed_files_are_what_the_code_writes(tmp_path):
    write(tmp_path)
    for made in ("dashboards/observa.json", "provisioning/alerting/observa.yaml"):
        assert (GRAFANA / made).read_text() == (tmp_path / made).read_text(), "run: just dashboards"


def test_the_dashboard_has_no_key_that_grafanas_types_do_not_know():
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(PAGE)))
    assert again == PAGE
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(PAGE | {"tittle": "x"}))) == PAGE


def test_the_dashboard_has_its_rows_in_order_and_panels_that_neither_overlap_nor_share_an_id():
    assert [panel["title"] for panel in PAGE["panels"] if panel["type"] == "row"] == list(ROWS)
    assert len({panel["id"] for panel in PAGE["panels"]}) == len(PAGE["panels"])
    taken = set()
    for panel in PAGE["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"]


def test_every_data_source_that_is_named_is_provisioned():
    known = {
        source.uid for source in DataSources.model_validate(provisioned("datasources/prometheus.yaml")).datasources
    }
    assert known == {SOURCE}
    assert {source["uid"] for source in values(PAGE, "datasource")} <= known
    assert set(values(provisioned("alerting/observa.yaml"), "datasourceUid")) == known | {"__expr__"}


def test_the_provider_and_the_alert_rules_have_no_key_that_grafana_does_not_read():
    Providers.model_validate(provisioned("dashboards/observa.yaml"))
    alerting = Alerting.model_validate(provisioned("alerting/observa.yaml"))
    rules = [rule for group in alerting.groups for rule in group.rules]
    assert len({rule.uid for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.condition in {query.ref_id for query in rule.data}
        assert all(query.ref_id == query.model.ref_id for query in rule.data)


def test_grafanas_alert_rules_are_prometheus_own():
    groups = [group for file in RULES.glob("*.yml") for group in yaml.safe_load(file.read_text())["groups"]]
    ours = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    rules = {rule["title"]: rule for group in provisioned("alerting/observa.yaml")["groups"] for rule in group["rules"]}
    assert rules.keys() == ours.keys()
    for name, rule in rules.items():
        assert rule["data"][0]["model"]["expr"] == ours[name]["expr"]
        assert rule["labels"] == ours[name]["labels"]
        assert not re.search(r"\$value\b", " ".join(rule["annotations"].values())), "Grafana's $value is another thing"
        assert "$" not in " ".join(rule["labels"].values()), "Grafana would put environment variables into labels"


@pytest.mark.skipif(not shutil.which("promtool"), reason="not installed: apt-get install prometheus")
def test_panels_that_are_empty_as_long_as_nothing_is_wrong_have_data_when_something_is(tmp_path):
    quiet = {
        "observa_redeliveries_total": 'model="m"',
        "observa_worker_read_failures_total": 'model="m", kind="read"',
        "observa_unreadable_entries_total": 'model="m", stream="results", reason="newer"',
    }
    tests = []
    for metric, labels in quiet.items():
        found = [q.expression for row in ROWS.values() for p in row for q in p.queries if metric in q.expression]
        assert found, metric
        for expression in found:
            shown = expression.replace("$__rate_interval", "2m").replace("$model", ".*")
            case = {"expr": f"count({shown})", "eval_time": "5m", "exp_samples": [{"labels": "{}", "value": 1}]}
            series = [{"series": f"{metric}{{{labels}}}", "values": "0+60x10"}]
            tests.append({"interval": "30s", "input_series": series, "promql_expr_test": [case]})
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_whoever_opens_grafana_in_containers_sees_the_dashboard_first():
    service = yaml.safe_load((GRAFANA.parents[1] / "compose.yaml").read_text())["services"]["grafana"]
    said = configparser.ConfigParser()
    said.read(GRAFANA / "grafana.ini")
    folder = service["environment"]["OBSERVA_GRAFANA_DASHBOARDS"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in service["volumes"]
    assert said["dashboards"]["default_home_dashboard_path"] == f"{folder}/observa.json"
    assert dict(said["auth.anonymous"]) == {"enabled": "true", "org_role": "Viewer"}
