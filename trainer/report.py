"""The metrics of every model, beside each other: reports/metrics.json."""

import json
from typing import Final

from trainer.data import DataError
from trainer.settings import ROOT, TrainerSettings
from trainer.stages import METRICS

REPORT: Final = ROOT / "reports" / "metrics.json"
DECIMALS: Final = 6


def write(settings: TrainerSettings) -> None:
    """Gather what the stage evaluate of each model wrote.

    Raises:
        DataError: no model was evaluated.

    """
    found = {path.parent.name: json.loads(path.read_bytes()) for path in settings.trainer_build.glob(f"*/{METRICS}")}
    if not found:
        raise DataError(f"{settings.trainer_build} holds no {METRICS}; run the stages of a model first")
    rounded = {
        name: {metric: round(value, DECIMALS) for metric, value in sorted(metrics.items())}
        for name, metrics in sorted(found.items())
    }
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
