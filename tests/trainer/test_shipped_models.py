"""The versions in models/ keep what their manifests and cards promise."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.manifest import live_version, models_in, read_manifest, read_reference, read_verified
from broker.text import normalise
from trainer.onnx_model import softmax
from trainer.params import read_params
from trainer.served import classifier_of
from trainer.verify import INVARIANCE_LIMIT

MODELS = Path(__file__).parents[2] / "models"
SHIPPED = ("sentiment", "sentiment-linear", "topics")
REPORT = MODELS / "metrics.json"
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=200), min_size=2, max_size=6)

shipped = pytest.mark.parametrize("name", SHIPPED)
of_opinions = pytest.mark.parametrize("name", SHIPPED[:2])


def live(name: str) -> Path:
    return MODELS / name / live_version(MODELS, name)


@functools.cache
def graph(name: str):
    manifest, files = read_verified(live(name))
    return classifier_of(manifest.kind, files, manifest.max_length, manifest.normalisation)


def test_three_models_ship():
    assert set(SHIPPED) <= set(models_in(MODELS))


@shipped
def test_every_file_is_what_the_manifest_says(name):
    manifest, files = read_verified(live(name))
    own = {"bag.json", "terms.txt", "weights.npy"} if manifest.kind == "linear" else {"model.onnx", "projection.npy"}
    assert own | {"reference.json", "vocabulary.txt"} <= files.keys()
    assert manifest.name == name
    assert max(map(len, files.values())) < 30_000_000


@shipped
def test_labels_and_length_are_those_of_the_parameters(name):
    manifest, params = read_manifest(live(name)), read_params().models[name]
    assert manifest.labels == params.labels
    assert manifest.max_length == params.max_length
    assert manifest.target_accuracy == params.target_accuracy


@pytest.mark.parametrize(("name", "least"), [("sentiment", 0.85), ("sentiment-linear", 0.79), ("topics", 0.93)])
def test_the_measured_accuracy_keeps_the_promise(name, least):
    manifest = read_manifest(live(name))
    assert manifest.metrics["accuracy"] >= least > manifest.target_accuracy
    assert manifest.metrics["f1_macro"] >= least
    assert manifest.metrics["test_count"] > 500


@shipped
def test_the_report_has_the_metrics_of_the_manifest(name):
    reported = json.loads(REPORT.read_bytes())[name]
    measured = read_manifest(live(name)).metrics
    figures = {metric for metric in measured if metric.startswith(("accuracy", "f1_macro", "test_count"))}
    assert {metric: reported[metric] for metric in figures} == pytest.approx(
        {metric: measured[metric] for metric in figures}, abs=0.01
    )


def test_an_item_of_business_news_is_business():
    manifest = read_manifest(live("topics"))
    text = normalise("UK markets rebound after inflation report", manifest.normalisation)
    assert int(graph("topics").probabilities([text]).argmax()) == manifest.labels.index("Business") == 2


@pytest.mark.parametrize("name", ["sentiment", "topics"])
def test_the_eight_bit_graph_answers_as_the_model_it_was_made_of(name):
    metrics = read_manifest(live(name)).metrics
    assert metrics["agreement_torch"] >= 0.999
    assert metrics["agreement_fp32"] >= 0.99
    assert metrics["invariance_max_difference"] <= INVARIANCE_LIMIT


def test_the_linear_model_answers_as_its_pipeline_every_time():
    metrics = read_manifest(live("sentiment-linear")).metrics
    assert metrics["agreement_native"] == 1.0
    assert metrics["probability_difference_native"] < 1e-9


@shipped
def test_the_card_states_the_measured_accuracy_of_every_domain(name):
    card = (MODELS / name / "README.md").read_text()
    metrics = read_manifest(live(name)).metrics
    figures = [f"{value:.3f}" for metric, value in metrics.items() if metric.startswith("accuracy")]
    assert "calibration.png" in card
    assert (MODELS / name / "calibration.png").exists()
    assert [figure for figure in figures if figure not in card] == []


@shipped
def test_the_reference_counts_every_text_once_in_each_feature(name):
    reference = read_reference(live(name))
    assert {sum(found.counts) for found in reference.features.values()} == {reference.count}
    assert sum(reference.labels.values()) == reference.count
    assert set(reference.labels) == set(read_manifest(live(name)).labels)


@shipped
def test_the_vocabulary_is_sorted_and_has_no_word_twice(name):
    words = (live(name) / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    assert words == sorted(set(words))
    assert len(words) > 5_000


@of_opinions
def test_plain_praise_is_positive_and_plain_blame_negative(name):
    manifest = read_manifest(live(name))
    texts = ["A wonderful, moving film, beautifully acted.", "A dull, stupid, boring waste of time."]
    predicted = graph(name).probabilities([normalise(text, manifest.normalisation) for text in texts]).argmax(axis=1)
    assert [manifest.labels[label] for label in predicted] == ["positive", "negative"]


@shipped
def test_an_empty_text_gets_an_answer(name):
    assert graph(name).probabilities([""]).sum() == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(texts=TEXTS, padding=st.integers(0, 17))
def test_company_and_padding_do_not_change_an_answer(texts, padding):
    model = graph("topics" if padding % 2 else "sentiment")
    rows = model.encode(texts)
    together = softmax(model.logits(rows, padding))
    alone = np.concatenate([softmax(model.logits([row])) for row in rows])
    assert np.abs(together - alone).max() <= INVARIANCE_LIMIT


@settings(max_examples=25, deadline=None, derandomize=True)
@given(texts=TEXTS)
def test_company_does_not_change_an_answer_of_the_linear_model(texts):
    model = graph("sentiment-linear")
    together = model.probabilities(texts)
    alone = np.concatenate([model.probabilities([text]) for text in texts])
    assert np.abs(together - alone).max() <= INVARIANCE_LIMIT
