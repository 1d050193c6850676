from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import Alert, Result
from broker.manifest import Calibration, Histogram
from monitor.judgement import FAMILIES
from monitor.panes import DAY_MS, HOUR_MS, MINUTE_MS, Recent, Span
from monitor.profiles import Profile, build
from monitor.report import Asked, summarise
from monitor.settings import Rules
from monitor.state import State
from tests.monitor.entries import (
    START_MS,
    Entry,
    draw,
    entry,
    feedback,
    fold_all,
    on_wire,
    prediction_id,
    profile_of,
    reference,
    result,
    results_of,
    state,
)

KNOTS = Calibration(confidence=(0.0, 0.5, 1.0), accuracy=(0.2, 0.4, 0.9))
SMALL = Rules(minimum_labels=10, accuracy_window=20, accuracy_run_length=50, drift_run_length=2000, drift_block=120)


def _rich() -> Profile:
    manifest, made = reference()
    coordinate = Histogram(edges=(-1.0, -0.5, 0.0, 0.5, 1.0), counts=(800, 750, 960, 940, 750, 800))
    features = made.features | {f"embedding_{axis}": coordinate for axis in range(8)}
    return build(manifest, made.model_copy(update={"features": features, "calibration": KNOTS}), SMALL)


RICH = _rich()


def rich() -> State:
    """A state that watches everything: estimates, the embedding, slices."""
    return State(SMALL, lambda version: RICH if version == "1" else Profile(version, 0.8))


def line(alert: Alert) -> str:
    """An alert as far as it must be the same however the streams were read: which, its state, its onset."""
    return f"{alert.alert_id} {alert.state} {alert.evidence.get('onset_ms')}"


def fed_in_batches(into: State, results: list[Entry], labels: list[Entry], cuts: list[int]) -> list[str]:
    """Feed both streams, taking turns, in batches of the sizes in *cuts* over and over."""
    told: list[str] = []
    streams: list[tuple[Any, list[Entry]]] = [(into.results, list(results)), (into.feedback, list(labels))]
    turn = 0
    while any(entries for _, entries in streams):
        fold, entries = streams[turn % 2]
        size = cuts[turn % len(cuts)]
        alerts = fold.fold(entries[:size])
        into.alerts += len(alerts)
        told += [line(alert) for alert in alerts]
        del entries[:size]
        turn += 1
    return told


@st.composite
def streams(make: st.DrawFn) -> tuple[list[Entry], list[Entry]]:
    """Two unruly streams: many versions, roles, errors, gaps of hours, late labels, corrections, garbage."""
    results, labels = [], []
    at = START_MS
    rng = np.random.default_rng(make(st.integers(0, 2**32)))
    for number in range(make(st.integers(0, 400))):
        at += int(rng.choice([0, 1, 50, 20_000, 1_200_000], p=[0.2, 0.4, 0.35, 0.04, 0.01]))
        version = str(rng.choice(["1", *"abcdefghij"], p=[0.8, *[0.02] * 10]))
        tags = {"evaluation": f"run{rng.integers(30)}"} if rng.random() < 0.05 else {}
        if rng.random() < 0.3:
            tags |= {"source": str(rng.choice([*"abc", *(f"s{n}" for n in range(40))])), "region": "x"}
        shown = result(
            id=prediction_id(at, number),
            version=version,
            role=str(rng.choice(["live", "canary", "shadow"], p=[0.8, 0.1, 0.1])),
            label=str(rng.choice(["positive", "negative", "odd"])),
            words=int(rng.integers(1, 60)),
            characters=int(rng.integers(1, 300)),
            confidence=float(rng.random()),
            embedding=tuple(rng.normal(0, 1, 8).round(3).tolist()) if rng.random() < 0.8 else None,
            abstained=bool(rng.random() < 0.1),
            truncated=bool(rng.random() < 0.1),
            tags=tags,
        )
        if rng.random() < 0.1:
            shown = Result(id=shown.id, version=version, status="error", code="malformed", queue_ms=1, worker="w")
        fields = on_wire(shown.to_fields())
        if rng.random() < 0.03:
            fields[b"words"] = b"many"
        results.append((f"{at}-{number}".encode(), fields))
        if rng.random() < 0.7:
            label = feedback(
                bool(rng.random() < 0.6),
                id=prediction_id(at - int(rng.choice([1, 60_000, 7_200_000, 400_000_000])), number),
                version=version,
                confidence=float(rng.random()),
                tags=tags,
                previous_label="odd" if rng.random() < 0.1 else None,
            )
            labels.append(entry(label, at, number))
    return results, labels


@settings(max_examples=25, deadline=None)
@given(streams(), st.lists(st.integers(1, 90), min_size=1, max_size=4))
def test_the_state_does_not_depend_on_batches_nor_on_how_the_streams_interleave(
    both: tuple[list[Entry], list[Entry]], cuts: list[int]
) -> None:
    whole, parts = rich(), rich()
    expected = [line(alert) for alert in fold_all(whole, *both)]
    told = fed_in_batches(parts, *both, cuts)
    assert sorted(told) == sorted(expected)
    assert parts.encode() == whole.encode()


def test_a_handful_of_results_read_one_by_one_is_remembered_as_if_read_together() -> None:
    entries = [entry(result(id=prediction_id(START_MS, number)), START_MS, number) for number in range(3)]
    together, singly = state(SMALL), state(SMALL)
    fold_all(together, entries, [])
    fed_in_batches(singly, entries, [], [1])
    assert singly.encode() == together.encode()


@settings(max_examples=15, deadline=None)
@given(streams(), st.integers(1, 200))
def test_a_state_that_went_through_its_snapshot_goes_on_as_if_nothing_had_happened(
    both: tuple[list[Entry], list[Entry]], cut: int
) -> None:
    whole, first = rich(), rich()
    fold_all(whole, *both)
    fold_all(first, both[0][:cut], both[1][:cut])
    second = rich()
    second.decode(first.encode())
    fold_all(second, both[0][cut:], both[1][cut:])
    assert second.encode() == whole.encode()


def test_a_label_counts_in_the_pane_of_its_prediction() -> None:
    watched = state()
    made, now = START_MS, START_MS + 2 * HOUR_MS
    watched.feedback.fold([entry(feedback(id=prediction_id(made)), now)])
    judgement = watched.feedback.judgements["1"]
    assert list(judgement.panes.hours) == [made // HOUR_MS]
    assert judgement.panes.minutes == {}  # that minute is past


def test_a_correction_restates_the_pane_of_the_prediction() -> None:
    watched = state()
    first = feedback(id=prediction_id(START_MS))
    second = feedback(id=prediction_id(START_MS), label="negative", previous_label="positive")
    watched.feedback.fold([entry(first, START_MS + 1), entry(second, START_MS + HOUR_MS // 2)])
    accuracy = summarise("sentiment", [watched])["versions"]["1"]["accuracy"]
    for window in ("1h", "24h", "all"):
        assert accuracy[window]["confusion"] == {"negative": {"positive": 1}}
        assert (accuracy[window]["count"], accuracy[window]["correct"]) == (1, 0)
    assert watched.feedback.outcomes == {"joined": 1, "replaced": 1}


def test_a_label_sent_again_counts_once() -> None:
    watched = state()
    again = feedback(id=prediction_id(START_MS), previous_label="positive")
    watched.feedback.fold([entry(feedback(), START_MS + 1), entry(again, START_MS + 2)])
    accuracy = summarise("sentiment", [watched])["versions"]["1"]["accuracy"]["all"]
    assert (accuracy["count"], accuracy["correct"]) == (1, 1)
    assert len(watched.feedback.judgements["1"].rule.recent) == 1
    assert sum(watched.feedback.delays.counts) == 1, "how late a label came is asked of the first"


def test_a_label_older_than_every_pane_is_counted_as_late_and_judges_nothing() -> None:
    watched = state()
    watched.feedback.fold([entry(feedback(id=prediction_id(START_MS - 9 * DAY_MS)), START_MS)])
    assert watched.feedback.outcomes == {"late": 1}
    assert len(watched.feedback.judgements) == 0


@pytest.mark.parametrize("days", [2, 7, 60])
def test_a_label_that_is_weeks_late_counts_in_the_day_of_its_prediction(days: int) -> None:
    watched = state(Rules(accuracy_days=days))
    made = START_MS - days * DAY_MS
    watched.feedback.fold([entry(feedback(id=prediction_id(made)), START_MS)])
    found = summarise("sentiment", [watched], Asked(since_ms=made))["versions"]["1"]
    assert found["accuracy"][f"{days}d"]["count"] == found["accuracy"]["all"]["count"] == 1
    assert found["accuracy"]["24h"]["count"] == 0
    assert [row["labelled"] for row in found["over_time"]] == [1, *[0] * days]


def test_labels_of_weeks_ago_that_come_today_count_for_the_pace_of_today() -> None:
    watched = state(Rules(accuracy_days=30, accuracy_run_length=100))
    for hour in range(3):
        at = START_MS + hour * HOUR_MS
        watched.feedback.fold([entry(feedback(id=prediction_id(at - 20 * DAY_MS)), at, i) for i in range(100)])
    judgement = watched.feedback.judgements["1"]
    assert judgement.multiple == 200 * 30 * FAMILIES / 100


def test_the_time_of_a_prediction_is_the_logs_whatever_the_clock_of_its_gateway_was() -> None:
    watched = state()
    for number, behind_ms in enumerate((0, 30 * DAY_MS, -30 * DAY_MS)):
        label = feedback(id=prediction_id(START_MS - behind_ms, number), made_ms=START_MS)
        watched.feedback.fold([entry(label, START_MS + 60_000, number)])
    assert watched.feedback.outcomes == {"joined": 3}
    assert summarise("sentiment", [watched])["versions"]["1"]["accuracy"]["5m"]["count"] == 3
    assert watched.feedback.delays.sum_ms == 3 * 60_000


def test_panes_are_bounded_however_long_the_stream() -> None:
    watched = state()
    for hour in range(100):
        at = START_MS + hour * HOUR_MS
        watched.results.fold([entry(result(), at + minute * MINUTE_MS) for minute in range(0, 60, 7)])
        watched.feedback.fold([entry(feedback(id=prediction_id(at)), at)])
    track, judgement = watched.results.tracks["1"], watched.feedback.judgements["1"]
    assert len(track.panes.minutes) <= 60
    assert len(track.panes.hours) == len(judgement.panes.hours) == 48
    assert len(track.panes.days) == len(judgement.panes.days) == 5


def test_evaluation_runs_are_reported_exactly_and_kept_out_of_everything_live() -> None:
    watched = state()
    tags = {"evaluation": "nightly"}
    results = [entry(result(tags=tags), START_MS, i) for i in range(100)]
    labels = [entry(feedback(i < 37, tags=tags), START_MS, i) for i in range(100)]
    assert fold_all(watched, results, labels) == []
    report = summarise("sentiment", [watched])
    run = report["evaluations"]["nightly"]["1"]
    assert (run["count"], run["correct"], run["answers"]) == (100, 37, {"live|ok|positive": 100})
    assert run["confusion"] == {"negative": {"positive": 63}, "positive": {"positive": 37}}
    assert report["versions"] == {}


def test_only_the_last_twenty_evaluation_runs_are_kept() -> None:
    watched = state()
    for number in range(30):
        watched.feedback.fold([entry(feedback(tags={"evaluation": f"run{number}"}), START_MS, number)])
    assert [name for name, _ in watched.feedback.runs.items()] == [f"run{number}" for number in range(10, 30)]


def test_shadow_answers_are_counted_apart() -> None:
    watched = state()
    fold_all(watched, [entry(result(role="shadow", version="2"), START_MS), entry(result(), START_MS + 1)])
    report = summarise("sentiment", [watched])
    assert list(report["versions"]) == ["1"]
    assert report["shadows"]["2"]["totals"] == {"shadow|ok|positive": 1}
    assert report["shadows"]["2"]["windows"]["5m"]["answered"] == 1


def test_a_version_without_a_folder_is_counted_without_drift() -> None:
    watched = state()
    fold_all(watched, [entry(result(version="9"), START_MS)], [entry(feedback(version="9"), START_MS)])
    found = summarise("sentiment", [watched])["versions"]["9"]
    assert found["windows"]["5m"]["answered"] == 1
    assert found["windows"]["5m"]["features"] == {}
    assert found["accuracy"]["all"]["correct"] == 1


def test_the_counts_of_shards_add() -> None:
    rng = np.random.default_rng(13)
    draws = results_of(draw(rng, 600))
    whole, left, right = state(), state(), state()
    fold_all(whole, draws)
    fold_all(left, draws[::2])
    fold_all(right, draws[1::2])
    one, two = summarise("sentiment", [whole])["versions"]["1"], summarise("sentiment", [left, right])["versions"]["1"]
    assert one["windows"] == two["windows"]
    assert one["totals"] == two["totals"]


def test_windows_hold_what_numpy_counts() -> None:
    rng = np.random.default_rng(14)
    draws = draw(rng, 900)
    watched = state()
    fold_all(watched, results_of(draws))
    found = summarise("sentiment", [watched])["versions"]["1"]["windows"]["24h"]["features"]["words"]
    assert found["recent"] == np.bincount(np.searchsorted(found["edges"], draws["words"]), minlength=10).tolist()


def test_a_time_before_all_that_is_kept_begins_with_the_oldest_day_that_is() -> None:
    assert Span.since(0, START_MS, 7) == Span(DAY_MS, 8)


def test_naming_one_more_drops_what_was_named_longest_ago() -> None:
    kept: Recent[int] = Recent(2)
    kept.put("a", 1)
    kept.put("b", 2)
    kept.name("a")
    assert kept.put("c", 3) == 2
    assert dict(kept.items()).keys() == {"a", "c"}


def test_a_snapshot_of_a_newer_monitor_is_refused() -> None:
    with pytest.raises(NewerSchemaError, match="start the monitor that wrote it"):
        State(Rules(), profile_of).decode(b'{"state_version": 6}')


@pytest.mark.parametrize("snapshot", [b"", b"[]", b'{"state_version": 1}', b"\xff"])
def test_a_damaged_snapshot_is_refused(snapshot: bytes) -> None:
    with pytest.raises(MalformedEntryError, match="snapshot"):
        State(Rules(), profile_of).decode(snapshot)


@pytest.mark.parametrize("part", ["arrivals", "minutes", "days"])
def test_a_snapshot_of_which_a_part_is_of_another_kind_is_refused(part: str) -> None:
    watched = state()
    fold_all(watched, [], [entry(feedback(), START_MS)])
    damaged = orjson.loads(watched.encode())
    damaged["feedback"]["judgements"][0][1][part] = []
    with pytest.raises(MalformedEntryError, match="snapshot"):
        State(Rules(), profile_of).decode(orjson.dumps(damaged))


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "changed",
    [
        Rules(drift_block=100),
        Rules(drift_block=300),
        Rules(drift_block=5000),
        Rules(accuracy_days=2),
        Rules(minimum_labels=10, accuracy_window=50),
        Rules(drift_run_length=1000, false_alarm_days=0, accuracy_run_length=100),
    ],
)
def test_a_snapshot_is_gone_on_from_under_other_settings(changed: Rules) -> None:
    before, after = State(Rules(accuracy_days=30), profile_of), State(changed, profile_of)
    answers = results_of(draw(np.random.default_rng(1), 900))
    labels = [entry(feedback(id=prediction_id(START_MS, i)), START_MS + i, i) for i in range(300)]
    fold_all(before, answers[:300], labels[:200])
    after.decode(before.encode())
    fold_all(after, answers[300:], labels[200:])
    (version,) = summarise("sentiment", [after])["versions"].values()
    assert version["windows"]["1h"]["answered"] == 900
    assert version["accuracy"]["1h"]["count"] == 300
    assert 0 <= after.results.tracks["1"].watch._in_block < changed.drift_block


def test_slices_reliability_bins_estimates_and_shadows_are_in_what_the_properties_compare() -> None:
    watched, tags = rich(), {"source": "app"}
    results = [
        entry(result(tags=tags, role="shadow" if i % 2 else "canary", embedding=(0.5,) * 8), START_MS, i)
        for i in range(50)
    ]
    fold_all(watched, results, [entry(feedback(i > 5, tags=tags), START_MS, i) for i in range(20)])
    found = summarise("sentiment", [watched], Asked(since_ms=START_MS))
    version = found["versions"]["1"]
    assert version["slices"]["source=app"]["labelled"] == 20
    (bin_of_09,) = version["accuracy"]["1h"]["calibration"]
    assert (bin_of_09["count"], bin_of_09["confidence"]) == (20, pytest.approx(0.9))
    assert version["windows"]["1h"]["estimated_accuracy"]["error"] == pytest.approx(0.8 - 0.7)
    assert version["over_time"][-1]["answered"] == found["shadows"]["1"]["windows"]["since"]["answered"] == 25
    assert sum(found["shadows"]["1"]["windows"]["1h"]["features"]["embedding_0"]["recent"]) == 25
