"""A stranger's pickle and a stranger's folder: converted and verified, or refused in one line."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from broker.errors import ModelRefusedError
from tests.trainer.made import made_examples
from trainer import importing
from trainer.stranger import labels_of
from worker.models import load_version

ROOT = Path(__file__).resolve().parents[2]


class Bomb:
    """Runs when it is read."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


class Sleeper:
    """Waits when it is read, and uses no processor."""

    def __reduce__(self):
        return time.sleep, (600,)


def run(models, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "trainer.importing", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OBSERVA_MODELS": str(models)},
        capture_output=True,
        text=True,
        check=False,
    )


def pickled(path, *steps):
    pipeline = make_pipeline(*steps)
    examples = made_examples(60, 1)
    pipeline.fit([text for text, _ in examples], [["no", "yes"][label] for _, label in examples])
    path.write_bytes(pickle.dumps(pipeline))
    return pipeline


@pytest.mark.parametrize(
    "steps",
    [
        (TfidfVectorizer(ngram_range=(1, 2), stop_words="english"), LogisticRegression()),
        (CountVectorizer(binary=True), MultinomialNB()),
    ],
)
def test_a_trusted_pickle_becomes_arrays_that_answer_as_it_did(tmp_path, steps):
    pipeline = pickled(tmp_path / "mine.pkl", *steps)
    done = run(tmp_path / "models", tmp_path / "mine.pkl", "--trust-pickle")
    assert done.returncode == 0, done.stderr
    assert "it now runs with your rights" in done.stderr
    loaded = load_version(tmp_path / "models" / "mine" / "1")
    texts = [text for text, _ in made_examples(40, 2)]
    found = [scores.probabilities for scores in loaded.model.predict(texts)]
    assert loaded.manifest.labels == ("no", "yes")
    assert np.abs(np.array(found) - pipeline.predict_proba(texts)).max() < 1e-9


def test_a_pickle_that_never_ends_is_left_and_nothing_is_written(tmp_path, monkeypatch):
    (tmp_path / "mine.pkl").write_bytes(pickle.dumps(Sleeper()))
    monkeypatch.setattr(importing, "UNPICKLE_S", 0.5)
    with pytest.raises(ModelRefusedError, match=r"mine\.pkl: was not read within 0.5 s"):
        importing.unpickled(tmp_path / "mine.pkl")


def test_a_pickle_is_not_read_unless_somebody_trusts_it(tmp_path):
    (tmp_path / "mine.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    done = run(tmp_path / "models", tmp_path / "mine.pkl")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "--trust-pickle" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_what_arrays_cannot_say_is_refused_and_nothing_is_written(tmp_path):
    pickled(tmp_path / "mine.pkl", CountVectorizer(analyzer="char"), LogisticRegression())
    done = run(tmp_path / "models", tmp_path / "mine.pkl", "--trust-pickle")
    assert done.returncode == 1
    assert "analyzer='char'" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "config.json"),
        ({"config.json": "[1]"}, "no JSON object"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, "a pickle"),
        ({"config.json": '{"auto_map": {"AutoModel": "m.M"}}', "m.safetensors": ""}, "code of its own"),
        ({"config.json": '{"id2label": {"0": "a"}}', "m.safetensors": ""}, "numbers 1 labels"),
        ({"config.json": '{"problem_type": "regression"}', "m.safetensors": ""}, "regression"),
    ],
)
def test_a_folder_that_is_no_classifier_is_refused_in_one_line(tmp_path, files, reason):
    (tmp_path / "mine").mkdir()
    for name, content in files.items():
        (tmp_path / "mine" / name).write_text(content)
    done = run(tmp_path / "models", tmp_path / "mine")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert reason in done.stderr


def test_labels_come_in_id_order():
    assert labels_of({"id2label": {"1": "b", "0": "a"}}) == ("a", "b")
    with pytest.raises(ModelRefusedError, match="0, 1"):
        labels_of({"id2label": {"1": "b", "2": "c"}})
