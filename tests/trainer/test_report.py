import json

import pytest

from trainer.settings import TrainerSettings

pytestmark = pytest.mark.trainer


def test_a_model_that_was_not_made_here_keeps_its_shipped_figures(tmp_path, monkeypatch):
    from trainer import report  # noqa: PLC0415 - its stages need the trainer's libraries

    for name, place in (("SHIPPED", "models/metrics.json"), ("REPORT", "reports/metrics.json")):
        monkeypatch.setattr(report, name, tmp_path / place)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "metrics.json").write_text('{"other": {"accuracy": 0.9}, "mine": {"accuracy": 0.7}}')
    (tmp_path / "build" / "mine").mkdir(parents=True)
    (tmp_path / "build" / "mine" / "metrics.json").write_text('{"accuracy": 0.81234567}')
    report.write(TrainerSettings(trainer_build=tmp_path / "build"))
    expected = {"mine": {"accuracy": 0.812346}, "other": {"accuracy": 0.9}}
    assert json.loads((tmp_path / "models" / "metrics.json").read_bytes()) == expected
    assert json.loads((tmp_path / "reports" / "metrics.json").read_bytes())["models"] == expected
