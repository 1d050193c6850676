from pathlib import Path

import pytest

from monitor.runbooks import runbook

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("detector", "feature", "page"),
    [
        ("psi", "words", "InputDrift"),
        ("cusum", "predicted_label", "TargetDrift"),
        ("psi", "entropy", "ConfidenceDrift"),
        ("e-sr", "accuracy", "AccuracyAlarm"),
        ("adwin", "accuracy", "AccuracyFell"),
        ("wilson", "accuracy", "AccuracyBelowTarget"),
        ("e-sr", "accuracy/source=app", "SliceAccuracyLow"),
        ("estimate", "estimated_accuracy", "EstimatedAccuracyLow"),
        ("scan", "embedding", "InputDrift"),
        ("service", "errors", "ServiceChanged"),
    ],
)
def test_every_kind_of_alarm_names_a_page_that_is_there(detector: str, feature: str, page: str) -> None:
    named = runbook(detector, feature)
    assert named == f"docs/runbooks/{page}.md"
    assert (ROOT / named).is_file()
