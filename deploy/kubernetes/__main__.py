"""Write the alert rules as the Prometheus operator reads them: `python -m deploy.kubernetes [FILE]`."""

import sys
from pathlib import Path
from typing import Any, Final

import yaml

RULES: Final = Path(__file__).resolve().parents[1] / "prometheus" / "rules"
FILE: Final = Path(__file__).with_name("base") / "prometheus-rule.yaml"
_GENERATED: Final = "# Written by `just kubernetes-rules` from deploy/prometheus/rules; change those.\n"


def prometheus_rule() -> dict[str, Any]:
    """Return every group of every file, as it is."""
    groups = [group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "observa"},
        "spec": {"groups": groups},
    }


def write(file: Path) -> None:
    """Write the resource to *file*."""
    file.write_text(_GENERATED + yaml.safe_dump(prometheus_rule(), sort_keys=False, width=118))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
