import numpy as np
import pytest

from trainer.evaluation import accuracy, agreement, f1_macro, label_ids

TRUTH = label_ids([0, 0, 0, 1])


def test_accuracy_is_the_share_of_right_answers():
    assert accuracy(TRUTH, label_ids([0, 0, 1, 1])) == 0.75


def test_f1_counts_every_label_alike():
    assert f1_macro(TRUTH, label_ids([0, 0, 0, 0]), 2) == pytest.approx((6 / 7 + 0) / 2)
    assert f1_macro(TRUTH, TRUTH, 2) == 1.0


def test_f1_equals_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(7)
    truth, predicted = draw.integers(3, size=(2, 200))
    assert f1_macro(truth, predicted, 3) == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))


def test_agreement_looks_at_labels_not_at_scores():
    assert agreement(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.6, 0.4], [0.7, 0.3]])) == 0.5
