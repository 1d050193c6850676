"""The arrays of a linear model answer as scikit-learn does, for every way of counting that they can say."""

import io
import json
import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from broker.bag import Bag, BagSettings
from broker.errors import ModelRefusedError
from broker.text import TOKENS
from tests.worker.builders import write_model
from worker.models import load_version

WORDS = [*["good", "bad", "film", "plot", "actor", "scene", "the", "a", "was", "not", "very"], "caf\u00e9", "2"]


def texts(count, seed):
    draw = random.Random(seed)
    return ["", "!?", *(" ".join(draw.choices(WORDS, k=draw.randint(1, 30))) for _ in range(count))]


def fitted(labels=2, **options):
    """A scikit-learn pair and its arrays."""
    vectoriser = TfidfVectorizer(lowercase=False, **options)
    found = texts(80, 1)
    classifier = LogisticRegression(max_iter=500).fit(vectoriser.fit_transform(found), np.arange(len(found)) % labels)
    lines, intercepts = classifier.coef_, classifier.intercept_
    if labels == 2:
        lines, intercepts = np.vstack([0 * lines, lines]), np.append(0.0, intercepts)
    weights = np.vstack([np.column_stack([vectoriser.idf_, lines.T]), [0.0, *intercepts]])
    return vectoriser, classifier, list(vectoriser.get_feature_names_out()), weights


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def folder(store, *, terms=("good", "bad"), weights=None, settings=None, **changes):
    """A version: "good" is for the second label, "bad" for the first."""
    default = np.array([[1.0, 0.0, 3.0], [1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    files = {
        "bag.json": json.dumps(settings or {}).encode(),
        "terms.txt": "".join(f"{term}\n" for term in terms).encode(),
        "weights.npy": npy(default if weights is None else weights),
    }
    return write_model(store, files | changes, kind="linear")


@pytest.mark.parametrize(
    ("options", "settings", "labels"),
    [
        ({"ngram_range": (1, 2), "token_pattern": TOKENS["ascii"].pattern}, {"longest": 2}, 2),
        ({}, {"words": "two_or_more"}, 3),
        ({"ngram_range": (2, 3), "token_pattern": r"\w+"}, {"words": "word", "shortest": 2, "longest": 3}, 2),
        ({"sublinear_tf": True}, {"words": "two_or_more", "counts": "logarithm"}, 2),
        ({"binary": True, "norm": "l1"}, {"words": "two_or_more", "counts": "binary", "norm": "l1"}, 2),
        ({"norm": None}, {"words": "two_or_more", "norm": "none"}, 4),
        (
            {"stop_words": ["the", "was"], "ngram_range": (1, 2)},
            {"words": "two_or_more", "stop_words": ("the", "was"), "longest": 2},
            2,
        ),
    ],
)
def test_arrays_answer_as_scikit_learn(options, settings, labels):
    vectoriser, classifier, terms, weights = fitted(labels, **options)
    bag = Bag(BagSettings(**settings), terms, weights)
    asked = texts(200, 2)
    expected = classifier.predict_proba(vectoriser.transform(asked))
    found = bag.probabilities([bag.words(text) for text in asked])
    assert np.abs(expected - found).max() < 1e-9


def test_company_does_not_change_a_bit_of_an_answer():
    _, _, terms, weights = fitted(ngram_range=(1, 2), token_pattern=TOKENS["ascii"].pattern)
    bag = Bag(BagSettings(longest=2), terms, weights)
    words = [bag.words(text) for text in texts(200, 3)]
    alone = np.concatenate([bag.probabilities([each]) for each in words])
    order = random.Random(4).sample(range(len(words)), len(words))
    assert (bag.probabilities([words[at] for at in order]) == alone[order]).all()


def test_a_folder_of_arrays_is_served(tmp_path):
    model = load_version(folder(tmp_path)).model
    good, nothing, long = model.predict(["good", "else", "good " * 30])
    assert good.probabilities == pytest.approx((1 / (1 + np.exp(3)), 1 / (1 + np.exp(-3))))
    assert nothing.probabilities == (0.5, 0.5)
    assert (long.tokens, long.truncated) == (30, True)  # it reads 8


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"terms": ("good",)}, r"for 1 terms"),
        ({"terms": ("good", "good")}, "twice"),
        ({"weights": np.zeros((3, 2))}, "terms"),
        ({"weights": np.zeros((3, 3), complex)}, "not an array of numbers"),
        ({"weights": np.full((3, 3), np.nan)}, "not a number"),
        ({"weights": np.asfortranarray(np.ones((3, 3)))}, "not an array of numbers"),
        ({"weights.npy": b"PK\x03\x04 a zip"}, "not an array of numbers"),
        ({"weights.npy": npy(np.zeros((3, 3)))[:-8]}, "more or less numbers"),
        ({"weights.npy": npy(np.zeros(3))}, "2 dimensions"),
        ({"settings": {"words": "(a+)+$"}}, "bag.json"),
        ({"settings": {"longest": 99}}, "bag.json"),
        ({"terms.txt": b"good\nb\xffd\n"}, "terms.txt"),
    ],
)
def test_arrays_that_are_not_what_they_say_are_refused_in_one_line(tmp_path, changes, reason):
    with pytest.raises(ModelRefusedError, match=reason) as caught:
        load_version(folder(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_an_array_that_claims_the_whole_memory_is_refused_before_any_is_taken(tmp_path):
    whole = npy(np.zeros((3, 3)))
    claimed = whole.replace(b"(3, 3), }" + b" " * 20, b"(999999999999, 3), }" + b" " * 9)
    assert len(claimed) == len(whole)
    with pytest.raises(ModelRefusedError, match="more or less numbers"):
        load_version(folder(tmp_path, **{"weights.npy": claimed}))


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    file = io.BytesIO()
    np.save(file, np.array([[print]], dtype=object), allow_pickle=True)
    with pytest.raises(ModelRefusedError, match="not an array of numbers"):
        load_version(folder(tmp_path, **{"weights.npy": file.getvalue()}))


def test_overflowing_weights_are_refused(tmp_path):
    with pytest.raises(ModelRefusedError, match=r"not a number|cannot be used"):
        load_version(folder(tmp_path, terms=("first", "bad"), weights=np.full((3, 3), 1e300)))
