"""`just verify-model`: a table and an exit status for any folder, however hostile."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.tables import Asked
from tests.worker import graphs
from tests.worker.builders import Toy, manifest, write_model
from worker.judging import Labelled, judge
from worker.models import Loaded
from worker.soundness import Trial, examine
from worker.verify import table, verify

ROOT = Path(__file__).resolve().parents[2]


def transformer(store, *, changes=None, **options):
    files = {"model.onnx": graphs.transformer(**options), "tokenizer.json": graphs.words_tokenizer()}
    return write_model(store, files | (changes or {}), kind="transformer")


def failed(folder, **options):
    return {check.name: check.found for check in examine(folder, **options) if not check.passed}


def run(*arguments):
    command = [sys.executable, "-m", "worker.verify", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)


def test_a_sound_folder_is_a_table_and_exit_status_0(tmp_path):
    done = run(transformer(tmp_path))
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[-1] == "sound: it may be served"
    assert {"loads", "answers", "in company", "padded", "speed"} <= {
        " ".join(line.split("  ")[1:2]).strip() for line in lines
    }


def test_each_check_is_a_line_of_json_for_programs(tmp_path):
    folder = transformer(tmp_path)
    (folder / "model.onnx").write_bytes(b"changed")
    done = run(folder, "--json")
    assert done.returncode == 1
    (check,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (check["name"], check["passed"]) == ("loads", False)
    assert "sha256 differs" in check["found"]


def test_texts_with_labels_say_how_often_the_version_is_right(tmp_path):
    folder, file = ROOT / "models" / "sentiment-linear" / "1", tmp_path / "mine.csv"
    told = [("wonderful, moving and funny", "positive"), ("boring and awful", "negative")] * 8
    file.write_text("review,rated\n" + "".join(f'"{text}",{label}\n' for text, label in told) + ",positive\n")
    asked = (folder, "--texts", file, "--text", "review", "--label", "rated", "--json")
    assert "line 18: review is empty" in run(*asked).stdout
    done = run(*asked, "--skip-bad")
    (check,) = [check for check in map(json.loads, done.stdout.splitlines()) if check["name"] == "your texts"]
    assert (done.returncode, check["found"]) == (0, "accuracy 1.0000; 17 rows read, 16 used, 1 refused")
    file.write_text("review,rated\nawful,positive\nwonderful,negative\n")
    done = run(*asked)
    assert (done.returncode, "accuracy 0.0000; 2 rows" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,label\ngood,3\n", "line 2: the label '3' is unknown; the labels are 'negative', 'positive'"),
        (b"review,label\ngood,positive\n", "no text; there is: review, label"),
        (b"", "the file is empty"),
        (b"text,label\n", "there are no rows"),
        (b"text,label\n\x81,positive\n", "line 2: text has bytes that are not of the file's encoding"),
    ],
)
def test_a_file_of_texts_that_is_no_use_is_one_line(tmp_path, content, said):
    file = tmp_path / "mine.csv"
    file.write_bytes(content)
    loaded = Loaded(Toy(manifest()), frozenset(), "d")
    check = judge(loaded, Labelled(file, Asked(label="label")))
    assert not check.passed
    assert said in check.found
    assert not judge(loaded, Labelled(tmp_path / "none.csv", Asked(label="label"))).passed


def test_what_is_no_folder_is_exit_status_2(tmp_path):
    done = run(tmp_path / "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_an_answer_that_depends_on_company_is_found(tmp_path):
    class Swayed:
        """Adds a little for every companion."""

        def __init__(self, model):
            self.manifest, self._model = model.manifest, model

        def predict(self, texts):
            found = self._model.predict(texts)
            sway = 1e-3 * (len(texts) > 1)
            return [
                type(s)((s.probabilities[0] - sway, s.probabilities[1] + sway), s.tokens, s.truncated) for s in found
            ]

    from worker.models import load_version  # noqa: PLC0415
    from worker.soundness import _company  # noqa: PLC0415

    trial = Trial(tmp_path, load_version(transformer(tmp_path)), 1e-4, 0)
    trial.model = Swayed(trial.model)
    ((found, _, passed),) = _company(trial)
    assert not passed
    assert "1.0e-03" in found


def test_a_recorded_figure_below_its_promise_is_refused(tmp_path):
    folder = transformer(tmp_path, changes={})
    manifest = json.loads((folder / "model.json").read_text())
    manifest["metrics"] = {"accuracy": 0.7, "agreement_torch": 0.5}
    (folder / "model.json").write_text(json.dumps(manifest))
    assert failed(folder) == {"recorded": "accuracy 0.7000"}


@pytest.mark.parametrize(
    ("labels", "said"),
    [({"negative": 987, "positive": 21}, None), ({"negative": 10**30}, "labels"), ({"negative": -1008}, "labels")],
)
def test_a_reference_is_tried_with_the_monitors_own_code(tmp_path, labels, said):
    bins = {"edges": [0.0], "counts": [1007, 1]}
    profile = {"count": 1008, "source": "made up", "features": {"non_latin_ratio": bins}, "labels": labels}
    checks = {
        each.name: each
        for each in examine(transformer(tmp_path, changes={"reference.json": json.dumps(profile).encode()}))
    }
    found = checks["detectors"]
    assert found.passed == (said is None)
    assert "sides are too rare to alarm" in found.found if found.passed else said in found.found


@pytest.mark.parametrize(
    ("changes", "options", "reason"),
    [
        ({}, {"last": "Sqrt"}, "not a number"),
        ({}, {"external": True}, "one file"),
        ({"tokenizer.json": b"{}"}, {}, "cannot be used"),
        ({"projection.npy": b"x"}, {}, "not an array"),
    ],
)
def test_a_hostile_folder_is_one_line(tmp_path, changes, options, reason):
    found = failed(transformer(tmp_path, changes=changes, **options))
    assert set(found) == {"loads"}
    assert reason in found["loads"]
    assert "\n" not in found["loads"]


def test_a_folder_that_kills_its_reader_is_refused_like_any_other(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.verify.sys.executable", "/bin/false")
    (check,) = verify(tmp_path)
    assert not check.passed
    assert table([check])[-1] == "refused: verifier"


def test_a_folder_whose_examination_never_ends_is_refused_like_any_other(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.verify.MOST_S", 0.1)
    (check,) = verify(tmp_path)
    assert (check.name, check.found, check.passed) == ("verifier", "did not end within 0.1 s", False)
