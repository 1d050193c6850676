"""Any reference gives detectors: rare labels, absent ones, one text in a bin, constants; in bounded work, honestly."""

import math
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.manifest import Histogram, ModelManifest, ReferenceProfile
from monitor import drift, run_length
from monitor.channels import Channel
from monitor.feature_watch import FeatureWatch
from monitor.profiles import MAX_CHANNELS, NO_DETECTORS, NO_REFERENCE, FeatureProfile, Profiles, build
from monitor.report import summarise
from monitor.run_length import heights, run_lengths
from monitor.settings import Rules
from monitor.state import State
from tests.monitor.entries import START_MS, entry, prediction_id, reference, result
from tests.monitor.process import store

SMALL = Rules(drift_block=120)
MOST_STATES = 60_000  # of all detectors of a version: about 2 s of one core
MOST_CELLS = 100_000  # of the chances between states that are kept: 800 kB
FEATURES = ("characters", "words", "tokens", "oov_ratio", "non_latin_ratio", "confidence", "entropy", "embedding_0")
COUNTS = st.sampled_from([1, 2, 7, 60, 1008, 10_000, 3_000_000, 10**12])
SEEDS = st.integers(0, 2**32)


@dataclass
class Work:
    """What was solved: states of Markov chains, and the cells of the largest window of one."""

    states: int = 0
    cells: int = 0


@contextmanager
def counted() -> Iterator[Work]:
    """Count what is solved, of which nothing is known from before."""
    work = Work()

    def counting(steps: tuple[int, ...], shares: tuple[float, ...]) -> Iterator[float]:
        up, down = max(*steps, 0), max(-min(steps), 0)
        states = down + run_length.BLOCK
        work.cells = max(work.cells, states * (states + up))
        for entries in run_lengths(steps, shares):
            work.states += 1
            yield entries

    run_length._exact.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_length, "run_lengths", counting)
        yield work


def spread(rng: np.random.Generator, count: int, bins: int) -> list[int]:
    """Return *count* texts in *bins*: alike, or most of them in a few, or all but one in one of them."""
    if rng.random() < 0.2:
        return rng.permutation([count - 1, 1, *[0] * bins][:bins]).tolist() if bins > 1 else [count]
    return rng.multinomial(count, rng.dirichlet(np.full(bins, 10.0 ** rng.uniform(-2, 2)))).tolist()


@st.composite
def references(make: st.DrawFn) -> tuple[ModelManifest, ReferenceProfile]:
    """Counts of any kind in any bins; labels that the reference does not hold."""
    rng, count = np.random.default_rng(make(SEEDS)), make(COUNTS)
    features = {}
    for name in FEATURES:
        bins = int(rng.integers(1, 17))
        edges = tuple(np.linspace(0, 1, bins + 1)[1:-1].tolist())
        held = spread(rng, count, bins) if rng.random() < 0.9 else [0] * bins
        features[name] = Histogram(edges=edges, counts=tuple(held))
    labels = tuple(f"label {at}" for at in range(make(st.integers(2, 150))))
    held = spread(rng, count, make(st.integers(1, len(labels))))
    manifest, made = reference()
    changes = {"count": count, "features": features, "labels": dict(zip(labels, held, strict=False))}
    return manifest.model_copy(update={"labels": labels}), made.model_copy(update=changes)


@pytest.mark.timeout(300)
@settings(max_examples=15, deadline=None)
@given(references(), SEEDS)
def test_any_reference_is_watched_in_bounded_work(made: tuple[ModelManifest, ReferenceProfile], seed: int) -> None:
    with counted() as work, pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "DRAWS", 100)  # how exactly a window's thresholds are known is not asked here
        profile = build(*made, SMALL)
    assert work.states <= MOST_STATES
    assert work.cells <= MOST_CELLS
    state, rng = State(SMALL, lambda _: profile), np.random.default_rng(seed)
    told = [
        result(
            id=prediction_id(START_MS + at, at),
            label=str(rng.choice(made[0].labels[-2:])),
            words=int(rng.integers(2)),
            confidence=float(rng.random()),
            embedding=(float(rng.random()),),
        )
        for at in range(SMALL.drift_block + 5)
    ]
    state.results.fold([entry(each, START_MS + at, at) for at, each in enumerate(told)])
    state.results.tracks["1"].watch.at_multiple(1e5)
    (report,) = orjson.loads(orjson.dumps(summarise("sentiment", [state])))["versions"].values()
    assert report["windows"]["1h"]["answered"] == len(told)
    assert {found["feature"] for found in report["sequential"]} >= {"predicted_label"}


def test_a_report_draws_no_bridge_which_would_hold_the_loop_for_a_moment_a_feature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = build(*reference(seed=77), SMALL)
    watched = State(SMALL, lambda _: profile)
    watched.results.fold([entry(result(id=prediction_id(START_MS, at)), START_MS, at) for at in range(200)])
    monkeypatch.setattr(np.random, "default_rng", None)
    (found,) = summarise("sentiment", [watched])["versions"].values()
    assert found["windows"]["1h"]["features"]["words"]["scores"].keys() == {"psi", "js", "ks", "wasserstein"}


def test_the_detectors_of_many_labels_take_memory_that_grows_with_the_labels_and_not_with_their_square() -> None:
    manifest, made = reference()
    labels = tuple(f"label {at}" for at in range(2000))
    tracemalloc.start()
    try:
        known = made.model_copy(update={"labels": dict.fromkeys(labels, 10)})
        profile = build(manifest.model_copy(update={"labels": labels}), known, SMALL)
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(profile.features[-1].channels) == MAX_CHANNELS
    assert held < most < 20_000_000  # one of 2000 times 2000 numbers would be 32 MB


def sides(counts: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """Every way in which counts are judged: scores, and the smallest shift that is worth an alarm."""
    level = run_length.ordinal_scores(counts)
    upper, lower = run_length.tail_scores(counts), run_length.tail_scores(counts[::-1])[::-1]
    label = run_length.indicator_scores(counts, int(counts.argmin()))
    yield from ((each, run_length.ALLOWANCE) for each in (level, -level, label, -label))
    yield from ((each, run_length.TAIL_ALLOWANCE) for each in (upper, lower))


def expect_run_lengths(counts: np.ndarray, asked: float) -> None:
    shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    errors = run_length.SCALE * run_length.REFERENCE_ERRORS / math.sqrt(counts.sum())
    for scores, smallest in sides(counts):
        solved = heights(counts, scores, 1e6, smallest)
        steps, height = scores - solved.allowance + round(errors), solved.of(asked)
        if math.isinf(height):
            assert steps.max() <= 0
        else:
            found = next(islice(run_lengths(tuple(steps.tolist()), tuple(shares.tolist())), int(height) - 1, None))
            assert found >= 0.9 * asked


@settings(max_examples=12, deadline=None)
@given(SEEDS, COUNTS, st.integers(2, 16), st.sampled_from([1e3, 1e6, 1e8, 1e11]))
def test_a_height_runs_as_long_as_was_asked_whatever_the_bins(seed: int, count: int, bins: int, asked: float) -> None:
    expect_run_lengths(np.array(spread(np.random.default_rng(seed), count, bins)), asked)


@pytest.mark.parametrize("counts", [[1008, 0], [1007, 1], [9998, 2], [99_997, 3], [3_000_000, 0]])
@pytest.mark.parametrize("asked", [1e6, 1e8, 1e11])
def test_a_height_runs_as_long_as_was_asked_where_one_bin_is_rare(counts: list[int], asked: float) -> None:
    expect_run_lengths(np.array(counts), asked)


@settings(deadline=None)
@given(SEEDS, st.integers(2, 8), st.integers(1, 60))
def test_run_lengths_are_those_of_the_whole_chain(seed: int, bins: int, height: int) -> None:
    rng = np.random.default_rng(seed)
    steps, shares = rng.integers(-12, 9, bins), rng.dirichlet(np.ones(bins))
    moves, states = np.zeros((height, height)), np.arange(height)
    for step, share in zip(steps, shares, strict=True):
        target = np.maximum(states + step, 0)
        np.add.at(moves, (states[target < height], target[target < height]), share)
    found = list(islice(run_lengths(tuple(steps.tolist()), tuple(shares.tolist())), height))
    assert bool(found) == (steps.max() > 0)
    if found and found[-1] < 1e8:  # the whole system is solved less exactly than that
        whole = float(np.linalg.solve(np.eye(height) - moves, np.ones(height))[0])
        assert found[-1] == pytest.approx(whole, rel=1e-6)


def test_a_side_that_a_rare_bin_only_takes_away_from_never_begins_an_alarm() -> None:
    counts = np.array([1007, 1])
    channel = Channel.of_ranks(counts, 4e6)
    heights_of = [side.at(1.0, 4.0) for side in channel.sides]
    assert [math.isinf(height) for height in heights_of] == [False, True, False, True]
    feature = FeatureProfile("non_latin_ratio", np.zeros(1), counts, (channel,))
    watch = FeatureWatch(feature, 0, Rules())
    times = np.arange(1, 50_001)
    assert watch.level()[1] == min(watch.channels[0].heights[0], watch.channels[0].heights[2]) / run_length.SCALE
    assert watch.cusum_changes(np.zeros(50_000, dtype=np.int64), times) == []
    assert [cusum.active for cusum in watch.channels[0].cusums] == [False] * 4
    ((_, began, _),) = watch.cusum_changes(np.ones(200, dtype=np.int64), times[:200])
    assert began
    assert watch.evidence_of("cusum", np.ones(1, dtype=np.int64))["threshold"] < math.inf


@pytest.mark.parametrize(("counts", "never"), [([0, 0, 0, 18, 723], False), ([10, 990], True)])
def test_where_clipped_scores_climb_by_themselves_each_step_takes_off_more(counts: list[int], never: bool) -> None:
    reference = np.array(counts)
    scores, errors = run_length.tail_scores(reference), run_length.REFERENCE_ERRORS / math.sqrt(reference.sum())
    usual = round(run_length.SCALE * (run_length.TAIL_ALLOWANCE + errors))
    solved = heights(reference, scores, 4e6, run_length.TAIL_ALLOWANCE)
    assert solved.allowance > usual
    assert math.isinf(solved.of(4e6)) == never
    assert never or solved.of(4e6) < run_length.HIGHEST


async def test_a_version_whose_detectors_cannot_be_built_is_said_once_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def fails(*_: object) -> None:
        tried.append(1)
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr("monitor.profiles.build", fails)
    known = Profiles(store(tmp_path) / "sentiment", Rules())
    for _ in range(2):
        await known.load(["1"])
        assert known("1").unwatched == NO_DETECTORS
    assert (known("1").labels, known("1").features) == (("negative", "positive"), ())
    assert (len(tried), len(caplog.records)) == (1, 1)
    assert "sentiment/1 (LinAlgError: singular)" in caplog.text
    await known.load(["2"])
    assert known("2").unwatched == NO_REFERENCE
