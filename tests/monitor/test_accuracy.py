import math

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support  # type: ignore[import-untyped]

from monitor.accuracy import MICRO, Z_95, alarm_limit, calibration_error, confidence_bin, scores, wilson


@pytest.mark.parametrize(("correct", "count"), [(82, 100), (410, 500), (0, 7), (7, 7), (1, 3), (1640, 2000)])
def test_wilson_bounds_solve_the_score_equation(correct: int, count: int) -> None:
    # The bounds are the p at which |share - p| is z standard errors of p itself.
    share = correct / count
    a, b, c = 1 + Z_95**2 / count, -(2 * share + Z_95**2 / count), share**2
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    point, lower, upper = wilson(correct, count)
    assert point == share
    assert lower == pytest.approx(max(0, (-b - root) / (2 * a)), abs=1e-9)
    assert upper == pytest.approx((-b + root) / (2 * a), abs=1e-9)


def test_wilson_bounds_at_082_are_the_published_ones() -> None:
    assert wilson(82, 100)[1:] == pytest.approx((0.733, 0.883), abs=5e-4)
    assert wilson(1640, 2000)[1:] == pytest.approx((0.803, 0.836), abs=5e-4)


@pytest.mark.parametrize("count", [1, 10, 50, 200])
def test_the_alarm_limit_is_the_last_count_whose_upper_bound_is_below_the_target(count: int) -> None:
    below = [k for k in range(count + 1) if wilson(k, count).upper < 0.8]
    assert alarm_limit(count, 0.8, Z_95) == max(below, default=-1)


def test_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    true, predicted = rng.integers(0, 4, 500), rng.integers(0, 4, 500)
    confusion: dict[str, dict[str, int]] = {}
    for t, p in zip(true, predicted, strict=True):
        row = confusion.setdefault(str(t), {})
        row[str(p)] = row.get(str(p), 0) + 1
    expected = precision_recall_fscore_support(true, predicted, labels=range(4))
    found = scores(confusion)
    for label in range(4):
        for name, values in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert found[str(label)][name] == pytest.approx(values[label], abs=1e-9)  # type: ignore[literal-required]


def test_a_score_without_a_denominator_is_unknown_and_not_zero() -> None:
    found = scores({"a": {"b": 3}})
    assert found["a"]["precision"] is None
    assert found["a"]["recall"] == 0
    assert found["b"]["recall"] is None


def test_calibration_error_is_the_weighted_distance_of_confidence_and_accuracy() -> None:
    rng = np.random.default_rng(4)
    micro = rng.integers(MICRO // 2, MICRO + 1, 400)
    right = rng.random(400) < 0.7
    bins = np.array([confidence_bin(int(m)) for m in micro])
    expected = sum(
        abs(right[bins == b].mean() - micro[bins == b].mean() / MICRO) * (bins == b).mean()
        for b in range(15)
        if (bins == b).any()
    )
    counts, sums, hits = (np.bincount(bins, weights, 15).astype(int).tolist() for weights in (None, micro, right))
    assert calibration_error(counts, sums, hits) == pytest.approx(expected, abs=1e-9)
    assert calibration_error([0] * 15, [0] * 15, [0] * 15) is None
