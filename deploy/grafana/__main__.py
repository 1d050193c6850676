"""Write what Grafana loads: `python -m deploy.grafana [FOLDER]`."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.dashboards import observa
from deploy.grafana.rules import provisioning

_GENERATED = "# Written by `just dashboards` from deploy/prometheus/rules; change those.\n"


class _InFull(yaml.SafeDumper):
    """YAML without anchors, which a reader has to look up."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def write(folder: Path) -> None:
    """Write the dashboard and the alert rules below *folder*."""
    page = folder / "dashboards" / "observa.json"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(json.dumps(json.loads(JSONEncoder(sort_keys=True).encode(observa())), indent=1) + "\n")
    alerts = folder / "provisioning" / "alerting" / "observa.yaml"
    alerts.parent.mkdir(parents=True, exist_ok=True)
    alerts.write_text(_GENERATED + yaml.dump(provisioning(), Dumper=_InFull, sort_keys=False, width=118))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
