"""The arithmetic of an evaluation, against scikit-learn and numpy."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from broker.ratios import quantile, wilson
from cli.scores import score

LABELS = ["a", "b", "c"]
labels = st.sampled_from(LABELS)


def same(ours: float | None, theirs: float) -> bool:
    return math.isnan(theirs) if ours is None else ours == pytest.approx(theirs)


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=60))
def test_scores_equal_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    true, predicted = zip(*pairs, strict=True)
    ours = score(pairs, LABELS)
    precision, recall, f1, support = precision_recall_fscore_support(
        true, predicted, labels=LABELS, zero_division=np.nan
    )
    assert ours.accuracy == pytest.approx(accuracy_score(true, predicted))
    assert ours.confusion == confusion_matrix(true, predicted, labels=LABELS).tolist()
    for position, label in enumerate(LABELS):
        each = ours.per_label[label]
        assert same(each.precision, precision[position])
        assert same(each.recall, recall[position])
        assert same(each.f1, f1[position])
        assert each.support == support[position]
    assert ours.f1_macro == pytest.approx(np.nanmean(f1))


def test_what_is_not_defined_is_not_called_zero() -> None:
    ours = score([("a", "a")], ["a", "b"]).per_label["b"]
    assert (ours.precision, ours.recall, ours.f1, ours.support) == (None, None, None, 0)


def test_no_pairs_have_no_accuracy() -> None:
    assert score([], LABELS).accuracy is None
    assert score([], LABELS).interval_95 is None


def test_a_label_nobody_announced_is_counted_too() -> None:
    assert score([("a", "z")], ["a"]).labels == ("a", "z")


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],  # the last: Newcombe 1998, table I
)
def test_the_wilson_interval_is_the_published_one(correct: int, count: int, low: float, high: float) -> None:
    assert wilson(correct, count) == pytest.approx((low, high), abs=5e-5)


def test_quantiles_equal_those_of_numpy() -> None:
    values = [random.Random(7).expovariate(0.1) for _ in range(101)]
    for share in (0.0, 0.5, 0.95, 0.99, 1.0):
        assert quantile(values, share) == pytest.approx(np.quantile(values, share))
    assert quantile([], 0.5) is None
