"""Grafana-managed alert rules from the same definitions as Prometheus' own, in the form of file provisioning."""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.grafana.dashboards import SOURCE

RULES: Final = Path(__file__).resolve().parents[1] / "prometheus" / "rules"
FOLDER: Final = "Observa"
_VALUE: Final = re.compile(r"\$value\b")  # Grafana's is a text that describes every query


def provisioning() -> dict[str, Any]:
    """Return every alert as a Grafana rule; recording rules stay with Prometheus, whose series the alerts read."""
    groups = []
    for file in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            rules = [_rule(rule) for rule in group["rules"] if "alert" in rule]
            if rules:
                groups.append(
                    {"orgId": 1, "name": group["name"], "folder": FOLDER, "interval": "30s", "rules": rules},
                )
    return {"apiVersion": 1, "groups": groups}


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    name = rule["alert"]
    return {
        "uid": f"observa-{name.lower()}",
        "title": name,
        "condition": "B",
        "for": rule.get("for", "0s"),
        "noDataState": "OK",  # an expression that finds nothing is a condition that does not hold
        "execErrState": "Error",
        "labels": rule["labels"],
        "annotations": {key: _VALUE.sub("$values.A.Value", text) for key, text in rule["annotations"].items()},
        "data": [_query(rule["expr"]), _FOUND],
    }


def _query(expression: str) -> dict[str, Any]:
    return {
        "refId": "A",
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": SOURCE,
        "model": {"refId": "A", "expr": expression, "instant": True, "range": False},
    }


# Prometheus fires for every series that an expression finds, whatever its value.
_FOUND: Final = {
    "refId": "B",
    "relativeTimeRange": {"from": 0, "to": 0},
    "datasourceUid": "__expr__",
    "model": {"refId": "B", "type": "math", "expression": "is_number($A) || is_inf($A)"},
}
