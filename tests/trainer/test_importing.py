"""A stranger's pickle and a stranger's folder: converted and verified, or refused in one line."""

import contextlib
import gzip
import json
import os
import pickle
import signal
import struct
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
from trainer import opened, stranger, unpickle
from trainer.evaluation import alike
from trainer.stranger import labels_of
from worker.models import load_version

ROOT = Path(__file__).resolve().parents[2]


class Bomb:
    """Runs when it is read."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


class Shell:
    """Runs a command when it is read."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Quitter:
    """Ends the process that reads it, as if all were well."""

    def __reduce__(self):
        return os._exit, (0,)


def is_alive(process):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


def tensors(size=8, header=None):
    head = json.dumps(header or {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(head)) + head + bytes(size)


def folder_of(tmp_path, files):
    (tmp_path / "mine").mkdir()
    for name, content in {"config.json": "{}", "model.safetensors": tensors(), **files}.items():
        if content is not None:
            (tmp_path / "mine" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path / "mine"


def refused(tmp_path, path, *arguments):
    """Import what is refused in one line, without an ESC, leaving nothing; return the line."""
    done = run(tmp_path / "models", path, *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    line = done.stderr.removeprefix(f"{importing_warning(path)}\n")
    assert line.count("\n") == 1, line
    assert "Traceback" not in line
    assert line.strip().isprintable()
    assert not list(tmp_path.glob("models/*"))
    return line


def refused_when_read(tmp_path, folder):
    """Read *folder* in this process, which is quicker, and return why it was refused."""
    (tmp_path / "made").mkdir()
    with pytest.raises(ModelRefusedError) as caught:
        stranger.perform(folder, tmp_path / "made", {})
    assert not list((tmp_path / "made").iterdir())
    return str(caught.value)


def importing_warning(path):
    return f"observa: {path} is a pickle, which is a program: it now runs with your rights. Trust its sender."


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


def test_a_pickle_that_never_ends_is_left_with_all_it_started(tmp_path, monkeypatch):
    trace = tmp_path / "pid"
    (tmp_path / "mine.pkl").write_bytes(pickle.dumps(Shell(f"sleep 600 & echo $! > {trace}; wait")))
    monkeypatch.setattr(unpickle, "SECONDS", 8.0)
    with pytest.raises(ModelRefusedError, match=r"mine\.pkl: was not read within 8 s"):
        unpickle.unpickled(tmp_path / "mine.pkl")
    wait_for(lambda: not is_alive(int(trace.read_text())))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_process_that_reads_a_pickle_ends_with_the_import(tmp_path, end):
    trace = tmp_path / "pid"
    (tmp_path / "mine.pkl").write_bytes(
        pickle.dumps(Shell(f"echo $PPID > {trace}.new; mv {trace}.new {trace}; exec sleep 600"))
    )
    importing = subprocess.Popen(
        [sys.executable, "-m", "trainer.importing", str(tmp_path / "mine.pkl"), "--trust-pickle"],
        cwd=ROOT,
        env=os.environ | {"OBSERVA_MODELS": str(tmp_path / "models"), "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(trace.exists)
    importing.send_signal(end)
    _, said = importing.communicate(timeout=30)
    wait_for(lambda: not is_alive(int(trace.read_text())))
    if end != signal.SIGKILL:
        assert (importing.returncode, said.splitlines()[1:]) == (130, ["observa: interrupted; nothing was written"])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.pkl", "pid"]


def test_what_a_pickle_prints_is_cut_and_steers_no_terminal(tmp_path):
    command = (
        "yes 12345678901234567890 | head -c 50000000; printf '\\033[31m%s' $(yes x | head -c 2000) >&2; kill $PPID"
    )
    (tmp_path / "mine.pkl").write_bytes(pickle.dumps([Shell(command), Shell("sleep 600")]))
    assert "SIGTERM" in refused(tmp_path, tmp_path / "mine.pkl", "--trust-pickle")
    (tmp_path / "mine.pkl").write_bytes(b"\x80\x04c\x1b[31mred\nname\n.")
    line = refused(tmp_path, tmp_path / "mine.pkl", "--trust-pickle")
    assert len(line) < 1000


def test_a_pickle_that_ends_its_process_well_is_not_believed(tmp_path):
    (tmp_path / "mine.pkl").write_bytes(pickle.dumps(Quitter()))
    assert "without its work" in refused(tmp_path, tmp_path / "mine.pkl", "--trust-pickle")


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_pickle_of_another_scikit_learn_is_refused_with_its_version_and_the_way(tmp_path, monkeypatch, compress):
    monkeypatch.setattr("sklearn.base.__version__", "1.4.2")
    pickled(tmp_path / "mine.pkl", CountVectorizer(), LogisticRegression())
    (tmp_path / "mine.pkl").write_bytes(compress((tmp_path / "mine.pkl").read_bytes()))
    line = refused(tmp_path, tmp_path / "mine.pkl", "--trust-pickle")
    assert "scikit-learn 1.4.2 wrote it" in line
    assert "pip install scikit-learn==" in line


def test_a_pickle_that_this_scikit_learn_cannot_even_read_names_its_version(tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn.base.__version__", "0.21.3")
    pickled(tmp_path / "mine.pkl", CountVectorizer(), LogisticRegression())
    whole = (tmp_path / "mine.pkl").read_bytes()
    (tmp_path / "mine.pkl").write_bytes(whole.replace(b"sklearn.pipeline", b"sklearn.gonemods"))
    assert "scikit-learn 0.21.3 wrote it" in refused(tmp_path, tmp_path / "mine.pkl", "--trust-pickle")


def test_ties_are_no_disagreement_and_are_counted():
    source = np.array([[0.5, 0.5], [0.9, 0.1], [0.5, 0.5]])
    moved = np.array([[0.5 - 1e-12, 0.5 + 1e-12], [0.9, 0.1], [0.2, 0.8]])  # the last by more than the tolerance
    found = alike(source, moved, 1e-9)
    assert (found.share, found.ties) == (0.5, 1)
    assert alike(source[:1], moved[:1], 1e-9)[:2] == (1.0, 1)


def test_a_pipeline_whose_labels_are_even_is_imported_and_its_ties_are_told(tmp_path):
    pipeline = make_pipeline(CountVectorizer(), MultinomialNB())
    pipeline.fit(["good film", "bad film", "good plot", "bad plot"] * 5, ["no", "yes", "yes", "no"] * 5)
    (tmp_path / "even.sav").write_bytes(pickle.dumps(pipeline))
    done = run(tmp_path / "models", tmp_path / "even.sav", "--trust-pickle")
    assert done.returncode == 0, done.stderr
    assert "200 of the compared texts were ties" in done.stdout


@pytest.mark.parametrize(("file", "name"), [("news-v1.2.pkl", "news-v1.2"), ("Mine.PKL", "mine"), ("a.joblib.gz", "a")])
def test_a_model_is_named_after_its_file_with_every_dot_that_is_its_own(tmp_path, file, name):
    pipeline = pickled(tmp_path / file, CountVectorizer(), LogisticRegression())
    if file.endswith(".gz"):
        (tmp_path / file).write_bytes(gzip.compress(pickle.dumps(pipeline)))
    done = run(tmp_path / "models", tmp_path / file, "--trust-pickle")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "models").iterdir()] == [name]
    assert "It is live." in done.stdout


def test_a_second_version_with_other_labels_says_so_and_that_it_is_not_live(tmp_path):
    pickled(tmp_path / "mine.pkl", CountVectorizer(), LogisticRegression())
    assert run(tmp_path / "models", tmp_path / "mine.pkl", "--trust-pickle").returncode == 0
    said = run(tmp_path / "models", tmp_path / "mine.pkl", "--trust-pickle", "--labels", " bad , good").stdout
    assert "It is not live, version 1 is. Its labels differ: that one has no, yes." in said
    assert "just promote mine 2" in said


def test_three_imports_at_once_become_three_versions(tmp_path):
    pickled(tmp_path / "mine.pkl", CountVectorizer(), LogisticRegression())
    command = [sys.executable, "-m", "trainer.importing", str(tmp_path / "mine.pkl"), "--trust-pickle"]
    environment = os.environ | {"OBSERVA_MODELS": str(tmp_path / "models")}
    running = [subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    assert [each.communicate()[1].count(b"\n") for each in running] == [1, 1, 1]
    assert sorted(path.name for path in (tmp_path / "models" / "mine").iterdir()) == ["1", "2", "3", "live.json"]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ("a\x1b[31m,b", "control characters"),
        ("a, a", "differ from each other"),
        ("a,", "at least 1 character"),
        ("yes,no", "in another order; theirs is no, yes"),
    ],
)
def test_labels_that_cannot_be_told_apart_or_steer_a_terminal_are_refused(tmp_path, labels, reason):
    pickled(tmp_path / "mine.pkl", CountVectorizer(), LogisticRegression())
    assert reason in refused(tmp_path, tmp_path / "mine.pkl", "--trust-pickle", "--labels", labels)


def test_a_store_that_cannot_be_written_is_one_line(tmp_path):
    pickled(tmp_path / "mine.pkl", CountVectorizer(), LogisticRegression())
    (tmp_path / "file").touch()
    done = run(tmp_path / "file" / "models", tmp_path / "mine.pkl", "--trust-pickle")
    assert (done.returncode, done.stderr.count("\n")) == (1, 2)
    assert "nothing was written" in done.stderr


def test_a_setting_that_is_no_number_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("OBSERVA_TRAINER_THREADS", "many")
    assert "OBSERVA_TRAINER_THREADS" in refused(tmp_path, tmp_path / "mine.pkl")


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


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 268\n"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"config.json": None}, "no config.json"),
        ({"config.json": "[1]"}, "no JSON object"),
        ({"config.json": "[" * 100_000}, "config.json cannot be read"),
        ({"config.json": " " * (1 << 20) + "{}"}, "at most 1048576 are read"),
        ({"model.safetensors": None, "pytorch_model.bin": ""}, "a pickle"),
        ({"config.json": '{"auto_map": {"AutoModel": "m.M"}}'}, "code or files of its own"),
        ({"config.json": '{"transformers_weights": "../../other.safetensors"}'}, "code or files of its own"),
        ({"config.json": '{"id2label": {"0": "a"}}'}, "numbers 1 labels"),
        ({"config.json": '{"problem_type": "regression"}'}, "regression"),
        ({"config.json": '{"num_labels": 1000000000}'}, "num_labels is no number up to"),
        ({"config.json": '{"num_labels": -1}'}, "at least 2"),
        ({"config.json": '{"n_layers": 100000000}'}, "n_layers is 100000000; at most 1000"),
        ({"config.json": POINTER}, "git lfs pull"),
        ({"tokenizer.json": POINTER}, "git lfs pull"),
        ({"model.safetensors": POINTER}, "git lfs pull"),
        ({"model.safetensors": ""}, "empty, cut short"),
        ({"model.safetensors": tensors()[:-1]}, "speaks of 8 bytes, there are 7"),
        ({"model.safetensors": b"\xff" * 8 + b"{}"}, "empty, cut short"),
        ({"model.safetensors": tensors(header=["w"])}, "header is damaged"),
        (
            {"model.safetensors": None, "model.safetensors.index.json": '{"weight_map": {"w": "weights.bin"}}'},
            "weights.bin",
        ),
        (
            {"model.safetensors": None, "model.safetensors.index.json": '{"weight_map": {"w": "../a.safetensors"}}'},
            "'../a",
        ),
        ({"model.safetensors": None, "model.safetensors.index.json": "[]"}, "no map"),
    ],
)
def test_a_folder_that_is_no_classifier_is_refused_with_the_reason(tmp_path, files, reason):
    assert reason in refused_when_read(tmp_path, folder_of(tmp_path, files))


def test_a_folder_is_refused_in_one_line(tmp_path):
    assert "git lfs pull" in refused(tmp_path, folder_of(tmp_path, {"tokenizer.json": POINTER}))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("kind", ["pipe", "endless", "link", "folder"])
def test_only_regular_files_of_the_folder_itself_are_opened(tmp_path, name, kind):
    folder = folder_of(tmp_path, {name: None})
    (tmp_path / "outside").write_bytes(tensors())
    match kind:
        case "pipe":
            os.mkfifo(folder / name)
        case "endless":
            (folder / name).symlink_to("/dev/zero")
        case "link":
            (folder / name).symlink_to(tmp_path / "outside")
        case _:
            (folder / name).mkdir()
    line = refused_when_read(tmp_path, folder)
    assert f"{name} is a link" in line or f"{name} is no regular file" in line


def test_every_size_is_known_to_be_allowed_before_anything_is_read(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, {"tokenizer.json": "{}"})
    (tmp_path / "copy").mkdir()
    os.truncate(folder / "model.safetensors", opened.MOST_WEIGHTS + 1)
    monkeypatch.setattr(opened, "content", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ModelRefusedError, match="at most"):
        opened.copied(folder, tmp_path / "copy")
    assert not list((tmp_path / "copy").iterdir())


def test_what_is_not_on_the_list_is_not_copied_and_settings_name_no_files(tmp_path):
    settings = json.dumps({"do_lower_case": True, "vocab_file": "/etc/passwd", "fast_tokenizer_files": ["a"]})
    folder = folder_of(tmp_path, {"tokenizer_config.json": settings, "model.py": "", "pytorch_model.bin": ""})
    (tmp_path / "copy").mkdir()
    opened.copied(folder, tmp_path / "copy")
    found = {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()}
    assert sorted(found) == ["config.json", "model.safetensors", "tokenizer_config.json"]
    assert json.loads(found["tokenizer_config.json"]) == {"do_lower_case": True}


def test_labels_come_in_id_order():
    assert labels_of({"id2label": {"1": "b", "0": "a"}}) == ("a", "b")
    with pytest.raises(ModelRefusedError, match="0, 1"):
        labels_of({"id2label": {"1": "b", "2": "c"}})
