"""An alarm starts one training a day, also over restarts, and only of a kind that was asked for."""

import json
import sys
import time

import pytest
from redis import Redis

from broker.events import Alert
from broker.streams import Tag
from cli.__main__ import main
from tests.live.services import make_model

TAG = Tag("strange")


@pytest.fixture
def alerts(server, monkeypatch, tmp_path):
    """Alarms as the monitor writes them; and a training that only notes for which model it was started."""
    make_model(tmp_path / "models", TAG.model)
    program = tmp_path / "train.py"
    program.write_text(f"import sys; open({str(tmp_path / 'trained')!r}, 'a').write(sys.argv[1] + '\\n')")
    for name, value in {
        "REDIS_URL": server.url,
        "MODELS": tmp_path / "models",
        "DATA_DIR": tmp_path / "data",
        "RETRAIN_ON": "accuracy",
    }.items():
        monkeypatch.setenv(f"OBSERVA_{name}", str(value))
    with Redis(port=server.port) as client:
        yield Alerts(client, tmp_path)


class Alerts:
    def __init__(self, client, folder) -> None:
        self.client = client
        self.folder = folder
        self.number = 0

    def begin(self, feature: str, detector: str = "e-sr", state: str = "firing", entry_id: str = "*") -> None:
        self.number += 1
        alert = Alert(
            alert_id=f"a{self.number}",
            state=state,
            detector=detector,
            feature=feature,
            severity="page",
            version="1",
            statistic=2,
            threshold=1,
            summary="Something is not what it was.",
            at_ms=1,
        )
        self.client.xadd(TAG.alerts, alert.to_fields(), id=entry_id)

    def look(self, program: str = "train.py") -> int:
        return main(["retrain-on-alert", "--once", "--program", f"{sys.executable} {self.folder / program}"])

    @property
    def trained(self) -> int:
        file = self.folder / "trained"
        return file.read_text().count("strange\n") if file.exists() else 0


def test_one_alarm_starts_one_training_and_another_within_a_day_none(alerts, capsys):
    assert alerts.look() == 0
    assert capsys.readouterr().out == "no alarm of accuracy is on\n"
    (alerts.folder / "data" / "retraining.json").unlink()
    alerts.begin("accuracy")
    assert alerts.look() == 0
    assert alerts.trained == 0  # it was on when somebody switched this on
    said = capsys.readouterr().out
    assert "strange: Something is not what it was. On since 1970" in said
    assert "starts no training; to train now: just retrain strange" in said
    alerts.begin("accuracy/team=a")
    alerts.begin("accuracy")
    assert alerts.look() == 0
    assert alerts.trained == 1
    assert "ready, as a shadow" in capsys.readouterr().out
    alerts.begin("estimated_accuracy")
    assert alerts.look() == 0
    assert alerts.trained == 1
    assert "at most one a day" in capsys.readouterr().err
    memory = alerts.folder / "data" / "retraining.json"
    kept = json.loads(memory.read_text())
    kept["trained"]["strange"] = time.time() - 90_000
    memory.write_text(json.dumps(kept))
    alerts.begin("accuracy")
    assert alerts.look() == 0
    assert alerts.trained == 2


def test_other_alarms_ended_ones_and_very_old_ones_start_nothing(alerts, monkeypatch):
    assert alerts.look() == 0
    alerts.begin("accuracy", entry_id="1700000000000-0")
    alerts.begin("words", "psi")
    alerts.begin("accuracy", state="resolved")
    alerts.begin("queue_ms", "service")
    assert alerts.look() == 0
    assert alerts.trained == 0
    monkeypatch.setenv("OBSERVA_RETRAIN_ON", "drift")
    alerts.begin("queue_ms", "service")
    alerts.begin("words", "psi")
    assert alerts.look() == 0
    assert alerts.trained == 1


def test_a_training_that_fails_is_told_and_not_tried_again_the_same_day(alerts, capsys):
    assert alerts.look() == 0
    (alerts.folder / "fails.py").write_text("raise SystemExit(1)")
    alerts.begin("accuracy")
    assert alerts.look("fails.py") == 1
    assert "failed (status 1); the live version stays" in capsys.readouterr().out
    alerts.begin("accuracy")
    assert alerts.look() == 0
    assert alerts.trained == 0


def test_nothing_is_started_unless_somebody_says_by_what(alerts, monkeypatch, capsys):
    monkeypatch.delenv("OBSERVA_RETRAIN_ON")
    assert alerts.look() == 2
    assert "set OBSERVA_RETRAIN_ON=accuracy,drift" in capsys.readouterr().err
    monkeypatch.setenv("OBSERVA_RETRAIN_ON", "weather")
    assert alerts.look() == 2
    assert "OBSERVA_RETRAIN_ON" in capsys.readouterr().err
