"""Whatever comes in whatever order, no count falls below zero and no part exceeds its whole."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.accuracy import BINS, MICRO
from monitor.judgement import MAX_LABELS, Judged, Judgement
from monitor.panes import DAY_MS, HOUR_MS, MINUTE_MS
from monitor.report import Asked, summarise
from monitor.results import MAX_VERSIONS
from monitor.settings import Rules
from monitor.state import State
from tests.monitor.entries import START_MS, Entry, entry, feedback, fold_all, prediction_id, profile_of, result, state

RULES = Rules(minimum_labels=10, accuracy_window=20, accuracy_run_length=50, accuracy_days=3)
LABELS = ("negative", "positive", "odd")
VERSIONS = (*"1234567890",)  # more than are kept
RUNS = 25  # more than are kept


def labels(seed: int) -> list[Entry]:
    """First labels and corrections of few predictions, some lost, some twice, in an order of no care."""
    rng = np.random.default_rng(seed)
    predictions = [
        {
            "made_ms": START_MS + int(rng.integers(0, 5 * DAY_MS)),
            "version": str(rng.choice(VERSIONS, p=[0.82, *[0.02] * 9])),
            "predicted": str(rng.choice(LABELS)),
            "confidence": float(rng.choice([0.1, 0.9, rng.random()])),
            "tags": {"customer": f"c{rng.integers(50)}", "region": f"r{rng.integers(50)}"}
            | ({"evaluation": f"run{rng.integers(RUNS)}"} if rng.random() < 0.2 else {}),
        }
        for _ in range(int(rng.integers(1, 60)))
    ]
    made, before = [], {}
    at = START_MS
    for number in range(int(rng.integers(300))):
        at += int(rng.choice([0, 1, MINUTE_MS, HOUR_MS, DAY_MS], p=[0.4, 0.3, 0.2, 0.09, 0.01]))
        chosen = int(rng.integers(len(predictions)))
        label = str(rng.choice(LABELS))
        previous = before.get(chosen) if rng.random() < 0.9 else str(rng.choice(LABELS))
        before[chosen] = label
        if rng.random() < 0.3:  # a gap took it
            continue
        event = feedback(id=prediction_id(at, chosen), label=label, previous_label=previous, **predictions[chosen])
        made.append(entry(event, at, number))
    return made


def assert_sound(judged: Judged) -> None:
    cells = [count for row in judged.confusion.values() for count in row.values()]
    assert all(count > 0 for count in cells)
    assert sum(cells) == judged.count
    assert sum(row.get(true, 0) for true, row in judged.confusion.items()) == judged.correct
    for at in range(BINS):
        assert 0 <= judged.right[at] <= judged.counts[at]
        assert 0 <= judged.micro[at] <= judged.counts[at] * MICRO
    assert 0 <= judged.estimated <= judged.count


def assert_slices_sound(judgement: Judgement) -> None:
    for hours in judgement.slices.slices.hours.values():
        for hour, (count, right) in hours.items():
            assert 0 <= right <= count
            if whole := judgement.panes.hours.get(hour):  # a slice of a silent version outlives its panes
                assert right <= whole.correct
                assert count <= whole.count


def assert_report_sound(report: dict[str, Any]) -> None:
    for version in report["versions"].values():
        for window in version["windows"].values():
            assert (window.get("label_coverage") or 0) <= 1
        for window in version["accuracy"].values():
            assert 0 <= window["correct"] <= window["count"]


def assert_all_sound(watched: State) -> None:
    for judgement in watched.feedback.judgements.values():
        for ring in (judgement.panes.minutes, judgement.panes.hours, judgement.panes.days):
            for judged in ring.values():
                assert_sound(judged)
        assert_sound(judgement.all)
        assert_slices_sound(judgement)
    for judged in (judged for run in watched.feedback.runs.values() for judged in run.values()):
        assert_sound(judged)
    assert_report_sound(summarise("sentiment", [watched], Asked(since_ms=START_MS)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 120))
def test_no_order_of_labels_corrections_evictions_and_gaps_makes_a_part_exceed_its_whole(seed: int, cut: int) -> None:
    entries = labels(seed)
    watched = State(RULES, profile_of)
    for start in range(0, len(entries), cut):
        watched.feedback.fold(entries[start : start + cut])
        assert_all_sound(watched)
    assert watched.feedback.aside.counts == {}


def test_a_correction_whose_first_label_a_gap_took_counts_as_a_first_one() -> None:
    watched = state()
    watched.feedback.fold([entry(feedback(False, previous_label="positive", tags={"customer": "x"}), START_MS + 1)])
    found = summarise("sentiment", [watched])["versions"]["1"]
    assert found["accuracy"]["all"]["confusion"] == {"negative": {"positive": 1}}
    assert (found["slices"]["customer=x"]["labelled"], found["slices"]["customer=x"]["correct"]) == (1, 0)


def test_a_correction_of_a_slice_that_had_no_room_for_the_first_label_restates_other() -> None:
    watched = state()
    tagged = [
        entry(feedback(id=prediction_id(START_MS, i), tags={"customer": f"c{i}"}), START_MS + 1, i) for i in range(33)
    ]
    corrected = feedback(False, id=prediction_id(START_MS, 32), tags={"customer": "c32"}, previous_label="positive")
    watched.feedback.fold([*tagged, entry(corrected, START_MS + 2)])
    other = summarise("sentiment", [watched])["versions"]["1"]["slices"]["other"]
    assert (other["labelled"], other["correct"]) == (1, 0)


def test_a_corrected_mistake_that_other_holds_is_not_one_of_a_slice_that_came_to_have_room() -> None:
    watched, next_ms = state(), START_MS + HOUR_MS
    full = [
        entry(feedback(id=prediction_id(START_MS, i), tags={"customer": f"c{i}"}), START_MS + 1, i) for i in range(32)
    ]
    late = {"made_ms": next_ms, "tags": {"customer": "c32"}}
    mistake = entry(feedback(False, id=prediction_id(next_ms, 1), **late), next_ms + 1)
    with_room = entry(feedback(id=prediction_id(next_ms, 2), **late), START_MS + DAY_MS)
    corrected = feedback(id=prediction_id(next_ms, 1), previous_label="negative", **late)
    watched.feedback.fold([*full, mistake, with_room])
    watched.feedback.fold([entry(corrected, START_MS + DAY_MS + 1)])
    slices = summarise("sentiment", [watched])["versions"]["1"]["slices"]
    assert {name: (found["labelled"], found["correct"]) for name, found in slices.items()} == {
        "other": (1, 1),
        "customer=c32": (1, 1),
    }


def test_an_error_that_says_that_it_abstained_is_no_abstained_answer() -> None:
    watched = state()
    odd: dict[str, Any] = {"status": "error", "label": None, "abstained": True, "truncated": True, "tags": {"a": "b"}}
    errors = [entry(result(**odd), START_MS + i, i) for i in range(200)]
    later = entry(result(), START_MS + HOUR_MS)
    watched.results.fold([*errors, later])
    found = summarise("sentiment", [watched])["versions"]["1"]
    day = found["windows"]["24h"]
    assert (day["answered"], day["errors"], day["abstained"], day["truncated"]) == (1, 200, 0, 0)
    assert (found["slices"]["a=b"]["answered"], found["slices"]["a=b"]["abstained"]) == (0, 0)


def test_labels_of_which_a_gap_has_the_results_are_no_more_than_all_answers() -> None:
    watched = state()
    watched.feedback.fold([entry(feedback(id=prediction_id(START_MS, i)), START_MS, i) for i in range(9)])
    watched.results.fold([entry(result(), START_MS)])
    assert summarise("sentiment", [watched])["versions"]["1"]["windows"]["1h"]["label_coverage"] == 1


def test_labels_of_endless_names_are_put_aside_and_those_of_the_model_count_on() -> None:
    watched, most = state(), MAX_LABELS + len(LABELS)
    for number in range(3 * MAX_LABELS):
        name, at_ms = f"name {number}", START_MS + number
        for tags in ({}, {"evaluation": "run"}):
            odd = feedback(id=prediction_id(at_ms), label=name, predicted=f"{name}!", tags=tags)
            watched.feedback.fold([entry(odd, at_ms, len(tags)), entry(feedback(tags=tags), at_ms, 2 + len(tags))])
    judgement, run = watched.feedback.judgements["1"], watched.feedback.runs["run"]["1"]
    for judged in (judgement.all, *judgement.panes.days.values(), run):
        assert_sound(judged)
        assert len(judged.confusion.keys() | {name for row in judged.confusion.values() for name in row}) <= most
        assert judged.confusion["positive"]["positive"] == 3 * MAX_LABELS
    kept = judgement.all.count + run.count
    assert watched.feedback.aside.counts == {"crowded": 12 * MAX_LABELS - kept}


def test_versions_of_endless_names_in_one_evaluation_are_counted_together() -> None:
    watched = state()
    for number in range(50):
        tagged = {"version": f"v{number}", "tags": {"evaluation": "run"}}
        fold_all(watched, [entry(result(**tagged), START_MS)], [entry(feedback(**tagged), START_MS)])
    found = summarise("sentiment", [watched])["evaluations"]["run"]
    assert (len(found), found["other"]["count"]) == (MAX_VERSIONS + 1, 50 - MAX_VERSIONS)
    assert found["other"]["answers"] == {"live|ok|positive": 50 - MAX_VERSIONS}
