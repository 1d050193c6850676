from typing import Any

import numpy as np
import pytest

from monitor.panes import HOUR_MS
from tests.monitor.entries import START_MS, Entry, entry, fold_all, prediction_id, result, state

AN_HOUR = 120  # answers


def traffic(hours: range, rng: np.random.Generator, **shares: Any) -> list[Entry]:
    """Answers of whole hours; *shares* give, by hour, the share of errors or abstentions, or the usual milliseconds."""
    found = []
    for hour in hours:
        for place in range(AN_HOUR):
            at = START_MS + hour * HOUR_MS + place * HOUR_MS // AN_HOUR
            number = hour * AN_HOUR + place
            changes: dict[str, Any] = {"id": prediction_id(at - 5, number), "words": int(rng.integers(5, 40))}
            if "milliseconds" in shares:
                changes["inference_ms"] = float(rng.gamma(4, shares["milliseconds"](hour) / 4))
            if "empty" in shares and rng.random() < shares["empty"](hour):
                changes["words"] = 0
            changes["abstained"] = bool(rng.random() < shares.get("abstained", lambda _: 0.0)(hour))
            shown = result(**changes)
            if rng.random() < shares.get("errors", lambda _: 0.0)(hour):
                shown = type(shown)(id=shown.id, version="1", status="error", code="malformed", queue_ms=1, worker="w")
            found.append(entry(shown, at, number))
    return found


def told(entries: list[Entry]) -> list[tuple[str, str, int]]:
    """Feature, state and hour of every alarm about the service."""
    alerts = [alert for alert in fold_all(state(), entries) if alert.detector == "service"]
    assert {alert.severity for alert in alerts} <= {"ticket"}
    return [(alert.feature, alert.state, (alert.at_ms - START_MS) // HOUR_MS) for alert in alerts]


def daily(low: float, high: float) -> Any:
    return lambda hour: low + (high - low) * (1 + np.sin(2 * np.pi * hour / 24)) / 2


@pytest.mark.parametrize(
    ("feature", "shares"),
    [
        ("errors", {"errors": lambda hour: 0.2 if 30 <= hour < 32 else 0.01}),
        ("abstained", {"abstained": lambda hour: 0.5 if 30 <= hour < 32 else 0.1}),
        ("empty", {"empty": lambda hour: 0.2 if 30 <= hour < 32 else 0.0}),
        ("inference_ms", {"milliseconds": lambda hour: 400.0 if 30 <= hour < 32 else 60.0}),
    ],
)
def test_what_has_more_than_doubled_opens_a_ticket_and_ends_when_it_is_over(
    feature: str, shares: dict[str, Any]
) -> None:
    found = told(traffic(range(36), np.random.default_rng(1), **shares))
    assert [(name, what) for name, what, _ in found] == [(feature, "firing"), (feature, "resolved")]
    assert found[0][2] == 30
    assert found[1][2] in {32, 33}


def test_a_daily_rhythm_opens_nothing_after_its_first_day() -> None:
    rhythm = {
        "errors": daily(0.001, 0.02),
        "abstained": daily(0.02, 0.15),
        "milliseconds": daily(20.0, 150.0),
    }
    found = told(traffic(range(72), np.random.default_rng(2), **rhythm))
    assert [alarm for alarm in found if alarm[2] >= 24] == []


def test_what_a_ticket_was_about_is_no_habit() -> None:
    shares = {"errors": lambda hour: 0.2 if hour in {30, 31, 50, 51} else 0.01}
    found = told(traffic(range(56), np.random.default_rng(3), **shares))
    assert [hour for _, what, hour in found if what == "firing"] == [30, 50]


def test_without_three_hours_before_nothing_is_said() -> None:
    assert told(traffic(range(3), np.random.default_rng(4), errors=lambda _: 0.5)) == []
