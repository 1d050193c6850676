import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.text import describe
from trainer.reference import calibration, entropy, histogram, profile


def test_ten_bins_of_like_number_the_outer_ones_divided():
    found = histogram(range(1000))
    assert found.counts == (10, 10, 30, 50, *(100,) * 8, 50, 30, 10, 10)


def test_a_value_on_an_edge_belongs_below_it():
    assert histogram([1, 2] * 50).edges == (1.0,)
    assert histogram([1, 2] * 50).counts == (50, 50)


def test_a_feature_that_never_changes_has_one_bin():
    found = histogram([0.0] * 40)
    assert (found.edges, found.counts) == ((), (40,))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=200))
def test_every_value_is_counted_once_and_no_outer_bin_is_empty(values):
    found = histogram(values)
    assert sum(found.counts) == len(values)
    assert found.counts[0] > 0
    assert found.counts[-1] > 0


@given(st.lists(st.tuples(st.floats(0.5, 1.0), st.booleans()), min_size=1, max_size=300))
def test_calibration_never_falls(answers):
    confidence, right = (np.array(column) for column in zip(*answers, strict=True))
    found = calibration(confidence, right.astype(bool))
    assert list(found.accuracy) == sorted(found.accuracy)
    assert list(found.confidence) == sorted(set(found.confidence))


def test_calibration_keeps_the_overall_share_of_right_answers():
    draw = np.random.default_rng(3)
    confidence = draw.uniform(0.5, 1.0, 5000)
    right = draw.uniform(size=5000) < confidence**2  # overconfident
    found = calibration(confidence, right)
    estimated = np.interp(confidence, found.confidence, found.accuracy)
    assert estimated.mean() == pytest.approx(right.mean(), abs=0.01)


def test_entropy_is_in_nats():
    found = entropy(np.array([[1.0, 0.0], [0.5, 0.5]], np.float32))
    assert found == pytest.approx([0.0, np.log(2)])


def test_a_profile_describes_texts_as_received_and_answers():
    vocabulary = frozenset({"good", "film"})
    found = profile(
        statistics=[describe(text, vocabulary) for text in ("Good film", "unknown words")],
        tokens=[4, 4],
        probabilities=np.array([[0.1, 0.9], [0.8, 0.2]], np.float32),
        truth=[1, 1],
        labels=("negative", "positive"),
        source="made",
    )
    assert found.count == 2
    assert found.labels == {"negative": 1, "positive": 1}
    assert found.features["oov_ratio"].edges == (0.0,)
    assert set(found.features) == {
        *("characters", "words", "tokens", "oov_ratio", "non_latin_ratio", "confidence", "entropy"),
    }
