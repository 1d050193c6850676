"""The metrics of every model: models/metrics.json, and beside the last evaluation in reports/metrics.json."""

import json
from typing import Final

from trainer.data import DataError
from trainer.settings import ROOT, TrainerSettings
from trainer.stages import METRICS

SHIPPED: Final = ROOT / "models" / "metrics.json"
REPORT: Final = ROOT / "reports" / "metrics.json"  # where `just evaluate` leaves what it found
DECIMALS: Final = 6


def write(settings: TrainerSettings) -> None:
    """Gather what the stage evaluate of each model wrote; a model that was not made here keeps its shipped figures.

    Raises:
        DataError: no model was evaluated.

    """
    found = {path.parent.name: json.loads(path.read_bytes()) for path in settings.trainer_build.glob(f"*/{METRICS}")}
    if not found:
        raise DataError(f"{settings.trainer_build} holds no {METRICS}; run the stages of a model first")
    shipped = json.loads(SHIPPED.read_bytes()) if SHIPPED.exists() else {}
    made = {
        name: {metric: round(value, DECIMALS) for metric, value in sorted(metrics.items())}
        for name, metrics in found.items()
    }
    rounded = dict(sorted((shipped | made).items()))
    SHIPPED.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
    evaluation = json.loads(REPORT.read_bytes()) if REPORT.exists() else {}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(evaluation | {"models": rounded}, indent=2) + "\n", encoding="utf-8")
