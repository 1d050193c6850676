from collections.abc import Callable

import numpy as np
import pytest

from monitor.alarms import Alarms
from monitor.panes import HOUR_MS, MINUTE_MS
from monitor.service import FLOORS, TIMES, Seen, ServiceWatch, Share
from tests.monitor.entries import START_MS, entry, fold_all, prediction_id, result, state

EDGES = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
FIVE_MINUTES = 120  # answers
Level = Callable[[float], float]  # of the hour


def drawn(rng: np.random.Generator, hour: float, shares: dict[str, Level], milliseconds: Level, count: int) -> Seen:
    """What one span of *count* answers holds."""
    found = {name: Share(int(rng.binomial(count, shares.get(name, lambda _: 0.0)(hour))), count) for name in FLOORS}
    times = np.searchsorted(EDGES, rng.gamma(4, milliseconds(hour) / 4, count))
    return Seen(found, {name: np.bincount(times, minlength=len(EDGES) + 1) for name in TIMES})


def told(hours: int, seed: int, milliseconds: Level = lambda _: 5.0, **shares: Level) -> list[tuple[str, str, float]]:
    """Feature, state and hour of every alarm, judged every five minutes."""
    rng, alarms = np.random.default_rng(seed), Alarms("1")
    watch = ServiceWatch(alarms, dict.fromkeys(TIMES, EDGES))
    whole: dict[int, Seen] = {}
    found = []
    for step in range(hours * 12):
        hour = step // 12
        now = drawn(rng, step / 12, shares, milliseconds, FIVE_MINUTES)
        before = {at: seen for at, seen in whole.items() if hour - 48 < at < hour - 1}
        for decided in watch.judge(now, before, hour, f"{START_MS + step * 5 * MINUTE_MS}-0"):
            alert = decided.alert
            assert alert.severity == "ticket"
            found.append((alert.feature, alert.state, (alert.at_ms - START_MS) / HOUR_MS))
        whole[hour] = added([whole[hour], now]) if hour in whole else now
    return found


def added(parts: list[Seen]) -> Seen:
    shares = {n: Share(sum(p.shares[n].part for p in parts), sum(p.shares[n].whole for p in parts)) for n in FLOORS}
    return Seen(shares, {n: sum((p.times[n] for p in parts), np.zeros(len(EDGES) + 1, dtype=np.int64)) for n in TIMES})


def during(low: float, high: float, *hours: int) -> Level:
    return lambda hour: high if int(hour) in hours else low


def daily(low: float, high: float) -> Level:
    return lambda hour: low + (high - low) * (1 + np.sin(2 * np.pi * hour / 24)) / 2


@pytest.mark.parametrize(
    ("feature", "low", "high"), [("errors", 0.01, 0.2), ("abstained", 0.1, 0.5), ("empty", 0, 0.2)]
)
def test_a_share_that_has_more_than_doubled_opens_a_ticket_until_it_is_over(
    feature: str, low: float, high: float
) -> None:
    began, ended = told(36, 1, **{feature: during(low, high, 30, 31)})
    assert (began[:2], ended[:2]) == ((feature, "firing"), (feature, "resolved"))
    assert 30 <= began[2] < 31
    assert 32 <= ended[2] < 32.5


def test_answers_that_take_longer_than_in_any_hour_before_open_a_ticket() -> None:
    found = told(36, 2, milliseconds=during(30.0, 400.0, 30))
    assert {name for name, _, _ in found} == set(TIMES)
    assert {what for _, what, _ in found} == {"firing", "resolved"}


def test_times_that_trouble_nobody_open_nothing() -> None:
    assert told(36, 3, milliseconds=during(1.0, 10.0, 30)) == []


def test_a_daily_rhythm_opens_nothing_after_its_first_day() -> None:
    rhythm = {"errors": daily(0.001, 0.05), "abstained": daily(0.02, 0.15)}
    found = told(96, 4, milliseconds=daily(20.0, 150.0), **rhythm)
    assert [alarm for alarm in found if alarm[2] >= 24] == []


def test_what_a_ticket_was_about_is_no_habit() -> None:
    found = told(56, 5, errors=during(0.01, 0.2, 30, 31, 50))
    assert [int(at) for _, what, at in found if what == "firing"] == [30, 50]


def test_without_three_hours_before_nothing_is_said() -> None:
    assert told(3, 6, errors=lambda _: 0.5) == []


def test_errors_in_the_log_open_a_ticket_of_their_version() -> None:
    entries = []
    for step in range(8 * 120):
        at = START_MS + step * HOUR_MS // 120
        shown = result(id=prediction_id(at - 5, step))
        if step >= 7 * 120 and step % 2:
            shown = type(shown)(id=shown.id, version="1", status="error", code="malformed", queue_ms=1, worker="w")
        entries.append(entry(shown, at, step))
    (alert,) = [alert for alert in fold_all(state(), entries) if alert.detector == "service"]
    assert (alert.feature, alert.state, alert.severity, alert.version) == ("errors", "firing", "ticket", "1")
    assert "more than" in alert.summary
