"""Any text that the gateway lets through gets an answer from the shipped models, in bounded time."""

import time
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.events import MAX_TEXT_CHARACTERS
from broker.manifest import live_version
from broker.text import describe, normalise
from worker.models import Loaded, load_version

MODELS = Path(__file__).parents[2] / "models"
ODD = {
    "one_enormous_word": "a" * MAX_TEXT_CHARACTERS,
    "combining_characters": "a" + "\u0301" * (MAX_TEXT_CHARACTERS - 1),
    "joined_emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 2000,
    "right_to_left": "\u202e\u05de\u05d0\u05d5\u05d3\u202c" * 1600,
    "characters_that_grow_when_normalised": "\ufdfa" * MAX_TEXT_CHARACTERS,
    "hangul_jamo": "\u1112\u1161\u11ab" * 3333,
    "control_characters": "good\x01\x1f\x7f\x85 film" * 500,
    "special_tokens": "[CLS] [SEP] [PAD] [MASK] [UNK] " * 300,
    "astral_plane": "\U0010ffff" * MAX_TEXT_CHARACTERS,
    "apostrophes": "'" * MAX_TEXT_CHARACTERS,
    "alternating": "a'" * (MAX_TEXT_CHARACTERS // 2),
    "ten_thousand_words": "a " * (MAX_TEXT_CHARACTERS // 2),
}


@cache
def loaded(name: str) -> Loaded:
    return load_version(MODELS / name / live_version(MODELS, name))


def answer(name: str, text: str) -> None:
    model = loaded(name)
    (scores,) = model.model.predict([normalise(text, model.manifest.normalisation)])
    assert sum(scores.probabilities) == pytest.approx(1, abs=1e-4)
    assert scores.tokens >= 0
    assert 0 <= describe(text, model.vocabulary).oov_ratio <= 1


@pytest.mark.parametrize("name", ["sentiment", "sentiment-linear"])
@pytest.mark.parametrize("odd", ODD)
def test_a_text_made_to_cost_much_costs_little(name, odd):
    loaded(name)
    began = time.thread_time()
    answer(name, ODD[odd][:MAX_TEXT_CHARACTERS])
    assert time.thread_time() - began < 2  # the usual longest text takes 0.1 s here


@pytest.mark.parametrize(("name", "examples"), [("sentiment", 40), ("sentiment-linear", 200)])
def test_any_text_gets_probabilities(name, examples):
    @settings(max_examples=examples, deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=400))
    def check(text: str) -> None:
        answer(name, text)

    check()
