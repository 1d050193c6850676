import numpy as np
import orjson
import pytest

from broker.manifest import Calibration
from monitor.drift import cdf_thresholds, js, js_threshold, ks, wasserstein
from monitor.panes import HOUR_MS
from monitor.profiles import build
from monitor.report import summarise
from monitor.settings import Rules
from monitor.slices import MAX_SLICES, OTHER
from monitor.state import State
from tests.monitor.entries import (
    START_MS,
    as_version_4,
    draw,
    entry,
    feedback,
    fold_all,
    labels_of,
    prediction_id,
    profile_of,
    reference,
    result,
    results_of,
    state,
)

KNOTS = Calibration(confidence=(0.5, 1.0), accuracy=(0.4, 0.9))


def calibrated() -> State:
    manifest, made = reference()
    profile = build(manifest, made.model_copy(update={"calibration": KNOTS}), Rules())
    return State(Rules(), lambda _: profile)


def test_the_estimate_is_the_mean_calibrated_confidence_and_shows_its_error_when_labels_come() -> None:
    watched, draws = calibrated(), draw(np.random.default_rng(1), 800)
    watched.results.fold(results_of(draws))
    found = summarise("sentiment", [watched])["versions"]["1"]["windows"]["24h"]["estimated_accuracy"]
    expected = np.interp(draws["confidence"], KNOTS.confidence, KNOTS.accuracy)
    assert found["ratio"] == pytest.approx(expected.mean(), abs=1e-6)
    assert found["sampling_error"] == pytest.approx(np.sqrt((expected * (1 - expected)).sum()) / 800, abs=1e-6)
    assert "error" not in found
    watched.feedback.fold(labels_of([True] * 60 + [False] * 40))
    found = summarise("sentiment", [watched])["versions"]["1"]["windows"]["24h"]["estimated_accuracy"]
    assert found["error"] == pytest.approx(0.8 - 0.6, abs=1e-6)  # each was made with a confidence of 0.9


def test_a_low_estimate_alone_pages_nobody_and_two_drifting_kinds_with_it_do() -> None:
    rng = np.random.default_rng(2)
    manifest, made = reference()
    low = Calibration(confidence=(0.5, 1.0), accuracy=(0.3, 0.6))
    profile = build(manifest, made.model_copy(update={"calibration": low}), Rules())
    alone = State(Rules(), lambda _: profile)
    assert [a for a in alone.results.fold(results_of(draw(rng, 5000))) if a.severity == "page"] == []
    answers = alone.results.fold(results_of(draw(rng, 3000, positive=0.9), START_MS + 500_000))
    assert {(a.feature, a.severity) for a in answers if a.state == "firing"} == {("predicted_label", "ticket")}
    both = alone.results.fold(results_of(draw(rng, 3000, longer=0.6, positive=0.9), START_MS + 1_000_000))
    (page,) = [a for a in both if a.severity == "page"]
    assert (page.detector, page.feature) == ("estimate", "estimated_accuracy")
    assert {"words", "predicted_label"} <= set(page.evidence["features"])
    usual = alone.results.fold(results_of(draw(rng, 20_000), START_MS + 1_500_000))
    assert (page.alert_id, "resolved") in {(a.alert_id, a.state) for a in usual}


def test_distances_agree_with_scipy() -> None:
    from scipy import stats  # type: ignore[import-untyped]  # noqa: PLC0415
    from scipy.spatial.distance import jensenshannon  # type: ignore[import-untyped]  # noqa: PLC0415

    rng = np.random.default_rng(5)
    for _ in range(30):
        first, second = rng.integers(1, 500, 10), rng.integers(1, 50, 10)
        p, q = ((c + 0.5) / (c + 0.5).sum() for c in (first, second))
        assert js(first, second) == pytest.approx(jensenshannon(p, q), abs=1e-9)
        moved = stats.wasserstein_distance(np.arange(10), np.arange(10), first, second)
        assert wasserstein(first, second) == pytest.approx(moved, abs=1e-9)
        largest = stats.ks_2samp(np.repeat(np.arange(10), first), np.repeat(np.arange(10), second)).statistic
        assert ks(first, second) == pytest.approx(largest, abs=1e-9)


@pytest.mark.parametrize("count", [200, 1000])
def test_unchanged_windows_pass_no_distance_more_often_than_promised(count: int) -> None:
    rng = np.random.default_rng(6)
    shares = rng.dirichlet(np.full(10, 20.0))
    passed = np.zeros(3)
    for _ in range(2000):
        first, second = rng.multinomial(4000, shares), rng.multinomial(count, shares)
        limits = cdf_thresholds(np.rint(shares * 4000).astype(int), second, 0.01)
        scores = js(first, second) > js_threshold(first, second, 0.01), ks(first, second), wasserstein(first, second)
        passed += [scores[0], scores[1] > limits[0], scores[2] > limits[1]]
    assert (passed / 2000 < 0.02).all()


def test_slices_are_counted_alone_and_their_number_is_bounded() -> None:
    watched = state()
    results = [entry(result(tags={"team": f"t{i}"}), START_MS, i) for i in range(MAX_SLICES + 5)]
    labels = [entry(feedback(i > 0, tags={"team": f"t{i}"}), START_MS, i) for i in range(MAX_SLICES + 5)]
    fold_all(watched, results, labels)
    slices = summarise("sentiment", [watched])["versions"]["1"]["slices"]
    assert len(slices) == MAX_SLICES + 1
    assert (slices[OTHER]["answered"], slices[OTHER]["labelled"]) == (5, 5)
    assert (slices["team=t0"]["correct"], slices["team=t1"]["correct"]) == (0, 1)
    later = START_MS + 30 * HOUR_MS
    fold_all(watched, [entry(result(), later)], [entry(feedback(id=prediction_id(later)), later)])
    assert summarise("sentiment", [watched])["versions"]["1"]["slices"] == {}


def test_a_slice_that_is_wrong_opens_a_ticket_of_its_own() -> None:
    watched = state()
    labels = [
        entry(feedback(i % 4 > 0, id=prediction_id(START_MS + i, i), tags={"team": "ab"[i % 4 == 0]}), START_MS + i)
        for i in range(200)
    ]
    alerts = watched.feedback.fold(labels)
    found = [a for a in alerts if a.feature.startswith("accuracy/")]
    assert [(a.feature, a.severity, a.state) for a in found] == [("accuracy/team=b", "ticket", "firing")]


def test_a_correction_of_a_slice_restates_its_hour() -> None:
    watched = state()
    tags = {"team": "a"}
    again = feedback(label="negative", previous_label="positive", tags=tags)
    watched.feedback.fold([entry(feedback(tags=tags), START_MS), entry(again, START_MS + 1)])
    slices = summarise("sentiment", [watched])["versions"]["1"]["slices"]
    assert (slices["team=a"]["labelled"], slices["team=a"]["correct"]) == (1, 0)


def test_more_traffic_makes_run_lengths_longer_and_alarms_rarer() -> None:
    watched = state()
    watched.results.fold(results_of(draw(np.random.default_rng(3), 20_000), step_ms=1))
    track = watched.results.tracks["1"]
    before = track.watch.watched[0].channels[0].heights[0]
    track.enter_minute(START_MS + HOUR_MS, 1)
    assert track.watch.multiple == pytest.approx(20_000 * 30 * 3 * 6 / 1_000_000)
    assert track.watch.watched[0].channels[0].heights[0] > before


def test_a_snapshot_of_version_1_keeps_counts_and_begins_its_windows_anew(caplog: pytest.LogCaptureFixture) -> None:
    watched = state()
    fold_all(watched, results_of(draw(np.random.default_rng(4), 600, longer=0.5)), labels_of([True] * 30))
    old = as_version_4(watched) | {"state_version": 1}
    for _, judgement in old["feedback"]["judgements"]:
        judgement["sums"] = judgement["sequential"][0]
        for name in ("multiple", "change", "slices", "sequential"):
            del judgement[name]
    read = State(Rules(), profile_of)
    read.decode(orjson.dumps(old))
    assert "older monitor" in caplog.text
    assert read.results.tracks["1"].totals == watched.results.tracks["1"].totals
    assert read.feedback.judgements["1"].all.count == 30
    ended = read.results.fold(results_of(draw(np.random.default_rng(5), 200), START_MS + 600_000))
    assert {a.state for a in ended} == {"resolved"}
    assert summarise("sentiment", [read])["versions"]["1"]["windows"]["24h"]["answered"] == 200


def test_the_state_stays_as_small_however_many_entries_come() -> None:
    watched, sizes = state(), []
    rng = np.random.default_rng(6)
    for day in range(3):
        for hour in range(24):
            at = START_MS + (24 * day + hour) * HOUR_MS
            fold_all(watched, results_of(draw(rng, 500), at, 6000), labels_of([True] * 100, at, 30_000))
        sizes.append(len(watched.encode()))
    assert sizes[2] < 1.1 * sizes[1]
    assert sizes[2] < 400_000
