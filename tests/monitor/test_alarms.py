from collections.abc import Sequence

import numpy as np

from monitor.change import LASTS
from monitor.detectors import ShiryaevRoberts
from monitor.panes import HOUR_MS, MINUTE_MS
from monitor.settings import Rules
from monitor.slices import MAX_SLICES
from tests.monitor.entries import (
    START_MS,
    Entry,
    draw,
    entry,
    feedback,
    labels_of,
    prediction_id,
    profile_of,
    result,
    results_of,
    state,
)


def test_unchanged_traffic_raises_no_more_alarms_than_promised_and_known_changes_are_found() -> None:
    rules = Rules()
    rng = np.random.default_rng(11)
    quiet = state(rules)
    alerts = quiet.results.fold(results_of(draw(rng, 60_000)))
    assert len([alert for alert in alerts if alert.state == "firing"]) <= 4  # design: 0.7 in 60 000, of 12 detectors
    for change, features, most in (
        ({"longer": 0.7}, {"words", "characters", "tokens"}, 100),
        ({"positive": 0.8}, {"predicted_label"}, 500),
    ):
        delays = []
        for _ in range(5):
            fresh = state(rules)
            fresh.results.fold(results_of(draw(rng, 3000)))
            found = fresh.results.fold(results_of(draw(rng, 5000, **change), START_MS + 60_000_000))
            first = [a for a in found if a.state == "firing" and a.feature in features]
            delays.append((first[0].at_ms - START_MS - 60_000_000) // 20 + 1)
            assert all(alert.severity == "ticket" for alert in first)
            assert first[0].evidence["sample_ids"]
        assert np.median(delays) <= most


def test_a_drift_alarm_ends_when_traffic_is_like_the_reference_again() -> None:
    rng = np.random.default_rng(12)
    watched = state()
    began = watched.results.fold(results_of(draw(rng, 2000, longer=0.6)))
    ended = watched.results.fold(results_of(draw(rng, 20_000), START_MS + 2000 * 20))
    assert {alert.alert_id for alert in began if alert.feature == "words"} == {
        alert.alert_id for alert in ended if alert.feature == "words" and alert.state == "resolved"
    }


def test_an_accuracy_alarm_begins_with_evidence_and_ends_under_the_same_id() -> None:
    watched = state()
    began = watched.feedback.fold(labels_of([True] * 40 + [False] * 60))
    assert {(alert.detector, alert.severity) for alert in began} == {
        ("e-sr", "page"),
        ("wilson", "ticket"),
        ("adwin", "ticket"),
    }
    evidence = next(alert.evidence for alert in began if alert.detector == "wilson")
    assert evidence["n"] >= 50
    assert evidence["confusion"]["negative"]["positive"] == evidence["n"] - evidence["correct"]
    assert evidence["sample_ids"][-1].startswith("sentiment.0.")
    ended = watched.feedback.fold(labels_of([True] * 400, START_MS + 10_000))
    assert {(a.alert_id, a.state) for a in ended} == {(a.alert_id, "resolved") for a in began}
    assert watched.feedback.fold(labels_of([True] * 100, START_MS + 30_000)) == []


def test_a_second_page_needs_as_much_evidence_as_the_first() -> None:
    watched = state()
    watched.feedback.fold(labels_of([True] * 300))

    def labels_until(wanted: str, start_ms: int, *, correct: bool) -> int:
        for number, label in enumerate(labels_of([correct] * 300, start_ms), 1):
            if any((alert.detector, alert.state) == ("e-sr", wanted) for alert in watched.feedback.fold([label])):
                return number
        raise AssertionError(wanted)

    first = labels_until("firing", START_MS + 10_000, correct=False)
    labels_until("resolved", START_MS + 20_000, correct=True)
    assert labels_until("firing", START_MS + 30_000, correct=False) >= first


def test_the_page_begins_with_the_first_label_whose_evidence_reaches_the_wanted_run_length() -> None:
    rules = Rules(accuracy_run_length=400)
    watched, alone = state(rules), ShiryaevRoberts(profile_of("1").target)
    labels = [True, False, True] * 100
    reached = 0
    for number, correct in enumerate(labels):
        alone.update(correct=correct, at_ms=START_MS)
        if alone.statistic >= rules.accuracy_run_length:
            reached = number
            break
    begins = [
        number
        for number, entry in enumerate(labels_of(labels))
        for alert in watched.feedback.fold([entry])
        if (alert.detector, alert.state) == ("e-sr", "firing")
    ]
    assert begins[:1] == [reached]


def test_pauses_of_all_traffic_end_no_alarm() -> None:
    watched = state()
    began = watched.results.fold(results_of(draw(np.random.default_rng(1), 3000, longer=3.0)))
    began += watched.feedback.fold(labels_of([False] * 60))
    assert {"cusum", "wilson"} <= {alert.detector for alert in began if alert.state == "firing"}
    for pause in range(1, 10):
        at_ms = START_MS + pause * 8 * HOUR_MS
        assert watched.results.fold(results_of(draw(np.random.default_rng(pause), 1, longer=3.0), at_ms)) == []
        assert watched.feedback.fold(labels_of([False], at_ms)) == []


def test_a_version_that_stopped_answering_holds_no_alarm() -> None:
    watched = state()
    began = watched.feedback.fold(labels_of([False] * 60))
    later = [START_MS + minutes * MINUTE_MS for minutes in (20, 21)]
    ended = watched.feedback.fold([entry(feedback(version="2", id=prediction_id(at)), at) for at in later])
    assert began
    assert {alert.alert_id for alert in ended} == {alert.alert_id for alert in began}


def test_a_drift_alarm_of_a_version_that_stopped_answering_ends_and_what_it_answers_later_is_judged_anew() -> None:
    watched = state()
    began = watched.results.fold(results_of(draw(np.random.default_rng(13), 2000, longer=0.6)))
    firing = {alert.alert_id for alert in began if alert.state == "firing"}
    firing -= {alert.alert_id for alert in began if alert.state == "resolved"}
    later = START_MS + 21 * MINUTE_MS
    ended = watched.results.fold(
        [entry(result(version="2", id=prediction_id(at)), at) for at in (later - MINUTE_MS, later)]
    )
    assert firing
    assert {alert.alert_id for alert in ended if alert.state == "resolved"} == firing
    again = watched.results.fold(results_of(draw(np.random.default_rng(14), 200), later + MINUTE_MS))
    assert not again


def of_a_slice(correct: Sequence[bool], start_ms: int = START_MS) -> list[Entry]:
    tagged = {"source": "app"}
    return [
        entry(feedback(right, id=prediction_id(start_ms - 5, number), tags=tagged), start_ms + number)
        for number, right in enumerate(correct)
    ]


def test_a_slices_ticket_begins_at_its_share_of_the_false_alarms_and_at_no_old_evidence() -> None:
    rules = Rules(accuracy_run_length=400)
    watched, alone = state(rules), ShiryaevRoberts(profile_of("1").target)
    labels = [True, *[False] * 40]
    reached = []
    for number, correct in enumerate(labels):
        alone.update(correct=correct)
        if alone.statistic >= rules.accuracy_run_length * MAX_SLICES:
            reached.append(number)
    told = [
        (number, alert.state)
        for number, label in enumerate(of_a_slice([*labels, *[True] * 200]))
        for alert in watched.feedback.fold([label])
        if alert.feature == "accuracy/source=app"
    ]
    assert [state for _, state in told] == ["firing", "resolved"]
    assert told[0][0] == reached[0]


def test_a_fall_of_the_accuracy_is_no_news_after_a_thousand_labels_without_a_further_one() -> None:
    watched = state()
    before, after = [number % 20 > 0 for number in range(600)], [number % 10 > 2 for number in range(3000)]
    told = [
        (number, alert.state)
        for number, label in enumerate(labels_of(before + after))
        for alert in watched.feedback.fold([label])
        if alert.detector == "adwin"
    ]
    assert [state for _, state in told] == ["firing", "resolved"]
    assert told[1][0] - told[0][0] >= LASTS
