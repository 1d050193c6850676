"""Which words made an answer: the sums, the words, and what is left when the heaviest is gone."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "shap", reason="the explainer's libraries are missing: uv pip install -r requirements/explainer.txt"
)

from broker.settings import BrokerSettings
from broker.text import normalise
from worker.explaining.app import warm_up
from worker.explaining.attribution import MOST_PARTS, attribute, split
from worker.explaining.versions import Version, Versions
from worker.models import Scores

STORE = Path(__file__).parents[2] / "models"
TOLERANCE = 1e-6  # of sums; 1e-3 is what was asked for
MOST = 400
FORTY_WORDS = (
    "This film is an absolute delight from the first frame to the last: the two leads are charming, the script is "
    "sharp and funny, and although the ending drags a little, I left the cinema smiling and wanting to see it again."
)
TEXTS = [
    FORTY_WORDS,
    "bad",
    "!!!",
    "no good at all",
    "ממש סרט טוב, I loved it",
    "这部电影很好看我喜欢",
    "<b>fine</b> &amp; dandy",
    "great movie but awful ending " * 60,
]


@cache
def version(name: str) -> Version:
    return Versions(BrokerSettings(models=STORE)).get(name, "1")


def read(name: str, text: str) -> str:
    return normalise(text, version(name).model.manifest.normalisation)


def log_odds(name: str, text: str, label: str) -> float:
    model = version(name).model
    probability = model.predict([text])[0].probabilities[model.manifest.labels.index(label)]
    return float(np.log(probability / (1 - probability)))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["sentiment", "sentiment-linear"])
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_weights_add_up_to_the_difference_from_the_baseline(name, text):
    found = version(name).explain(text, 64, lambda _: None)
    one = found.attribution
    assert "".join(one.parts) == read(name, text)
    assert len(one.parts) == len(one.weights)
    assert abs(one.baseline + sum(one.weights) - one.score) < TOLERANCE
    assert one.score == pytest.approx(log_odds(name, read(name, text), found.label), abs=1e-3)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["sentiment", "sentiment-linear"])
def test_without_its_heaviest_word_the_score_is_lower(name):
    found = version(name).explain(FORTY_WORDS, MOST, lambda _: None)
    one = found.attribution
    heaviest = int(np.argmax(one.weights))
    without = "".join(part for at, part in enumerate(one.parts) if at != heaviest)
    assert one.weights[heaviest] > 0
    assert log_odds(name, without, found.label) < one.score


def test_the_coefficients_are_those_of_the_graph():
    one = version("sentiment-linear").explain("no good at all", MOST, lambda _: None).attribution
    assert one.method == "coefficients"
    assert one.evaluations == 0


def test_what_the_model_does_not_read_weighs_nothing():
    one = version("sentiment").explain("word " * 400 + "awful", 32, lambda _: None).attribution
    assert one.truncated
    assert one.parts[-1].endswith("awful")
    assert one.weights[-1] == 0


def test_progress_is_told_and_never_falls_back():
    told: list[float] = []
    version("sentiment").explain(FORTY_WORDS, 64, told.append)
    assert told == sorted(told)
    assert 0 < told[0] < 1


class Counting:
    """A model that knows one word, and how often it was asked."""

    manifest = None

    def __init__(self) -> None:
        self.asked = 0

    def predict(self, texts):
        self.asked += len(texts)
        return [
            Scores((0.1, 0.9) if "gem" in text else (0.6, 0.4), len(text.split()), truncated=False) for text in texts
        ]


def test_a_model_of_any_kind_is_explained_within_its_questions():
    model = Counting()
    found = attribute(model, "a quiet little gem of a film", 1, 32, lambda _: None)
    assert found.parts[int(np.argmax(found.weights))] == "gem "
    assert model.asked <= 32 + 16 + 2


def test_a_long_text_shares_weights_among_neighbours():
    found = attribute(Counting(), "one two three gem " * 200, 1, 32, lambda _: None)
    assert len(found.parts) <= MOST_PARTS
    assert abs(found.baseline + sum(found.weights) - found.score) < TOLERANCE


@pytest.mark.parametrize("text", ["don't stop", "a  b", "...", "(a) b.", "x", "你好 world"])
def test_words_joined_are_the_text(text):
    assert "".join(split(text)) == text


def test_a_model_that_cannot_be_explained_keeps_no_explainer_from_starting(caplog, monkeypatch):
    def explain(*_):
        raise RuntimeError("no such model was thought of")

    monkeypatch.setattr(Version, "explain", explain)
    warm_up(Versions(BrokerSettings(models=STORE)))
    assert "not warm: no such model was thought of" in caplog.text
