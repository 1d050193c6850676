"""``python -m trainer``: from made data to a version folder, as a person would, and what goes wrong on the way."""

# ruff: noqa: PLC0415 - imported inside, so that an environment without the libraries can still collect and skip these

import csv
import json
import os
import socket
import sys

import numpy as np
import pytest

from broker.labelled import LabelledFile
from broker.manifest import live_version, read_manifest, read_reference, read_verified
from broker.tables import Asked
from tests.trainer.made import LABELS, LINEAR, PARAMS, labelled_csv, made_examples, params_of, wheel
from trainer.folder import make_live, write_version
from trainer.settings import TrainerSettings
from trainer.splits import Example

pytestmark = [
    pytest.mark.trainer,
    pytest.mark.filterwarnings("ignore"),  # exporters and mlflow use what their own libraries deprecate
    pytest.mark.timeout(600),  # importing torch and the exporter alone took two minutes on a busy machine
]


@pytest.fixture(autouse=True)
def _no_server_from_outside(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def linear(tmp_path_factory, settings_in):
    """Return the settings and parameters of a small linear model of which one version was made."""
    from trainer.app import train

    folder = tmp_path_factory.mktemp("linear")
    settings, params = settings_in(folder), params_of(LINEAR, folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        train("made", params, settings, version=None, live=False)
    return settings, params


@pytest.fixture
def encoder(bert, tokenizer, tmp_path):
    return wheel(tmp_path / "encoder-1-py3-none-any.whl", bert, tokenizer)


@pytest.mark.parametrize(
    "chosen",
    [LINEAR, PARAMS.model_copy(update={"epochs": 4, "calibration": "temperature", "class_weights": "balanced"})],
    ids=lambda params: params.kind,
)
def test_a_command_makes_verified_versions_and_tracked_runs(chosen, encoder, tmp_path, settings_in):
    import mlflow

    from trainer.app import train

    params = params_of(chosen, tmp_path, made=encoder)
    settings = settings_in(tmp_path)

    folder = train("made", params, settings, version=None, live=False)

    assert folder.name == "1"
    assert live_version(settings.models, "made") == "1"
    manifest, _ = read_verified(folder)
    assert manifest.metrics["accuracy"] > 0.9
    assert 0 <= manifest.metrics["calibration_error"] < 0.5
    assert read_reference(folder).count > 20
    client = mlflow.MlflowClient()
    listed = client.get_model_version_by_alias("made", "live")
    assert listed.tags["version"] == "1"
    run = client.get_run(listed.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["data_digest"] == manifest.data_digest
    assert run.data.tags["code_revision"] == manifest.code_revision
    assert run.data.metrics["accuracy"] == pytest.approx(manifest.metrics["accuracy"])
    assert ("temperature" in run.data.metrics) == (chosen.calibration is not None)
    assert {each.path for each in client.list_artifacts(listed.run_id, "figures")} >= {"figures/confusion.png"}
    assert {each.path for each in client.list_artifacts(listed.run_id, "model")} >= {"model/model.json"}
    if chosen.kind == "transformer":
        assert [each.step for each in client.get_metric_history(listed.run_id, "valid_loss")] == [1, 2, 3, 4]


def test_the_next_training_is_the_next_version_and_not_live(linear):
    from trainer.app import train

    settings, params = linear
    folder = train("made", params, settings, version=None, live=False)
    assert folder.name == "2"
    assert live_version(settings.models, "made") == "1"
    first = read_manifest(settings.models / "made" / "1")
    assert read_manifest(folder).metrics == first.metrics
    assert read_manifest(folder).data_digest == first.data_digest


def test_a_model_below_its_target_is_not_written(tmp_path, settings_in):
    from trainer.app import train
    from trainer.verify import NotGoodEnoughError

    draw = np.random.default_rng(9)
    texts = [Example(f"text {number}", int(draw.integers(2))) for number in range(200)]  # labels by chance
    settings = settings_in(tmp_path)
    with pytest.raises(NotGoodEnoughError, match=r"accuracy on the test texts is 0.*nothing was written"):
        train("made", params_of(LINEAR, tmp_path, texts), settings, version=None, live=False)
    assert not settings.models.exists()


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([Example(f"good {number}", 1) for number in range(60)], r"'negative'; all texts are 'positive'"),
        ([Example("good", 1), Example("bad", 0)], r"the (train|valid) part holds no text"),
    ],
    ids=["one label", "too few"],
)
def test_data_that_nothing_can_be_learnt_from_is_refused_before_training(texts, reason, tmp_path, settings_in):
    from trainer.app import train
    from trainer.data import DataError

    settings = settings_in(tmp_path)
    with pytest.raises(DataError, match=reason):
        train("made", params_of(LINEAR, tmp_path, texts), settings, version=None, live=False)
    assert not (settings.trainer_build / "made").exists()
    assert not settings.models.exists()


def test_a_local_run_names_no_server_to_the_next(tmp_path, settings_in):
    """MLflow notes its store in this process' environment, where a server is named."""
    from trainer.tracking import tracked

    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        cache = settings_in(folder).trainer_cache
        (kept := folder / "kept.txt").write_text(name)
        with tracked("made", cache) as run:
            assert "MLFLOW_TRACKING_URI" not in os.environ
            run.files(kept)
        assert list((cache / "mlflow").rglob("kept.txt"))


def test_a_registry_that_is_down_is_said_in_one_line_before_any_training(tmp_path, monkeypatch, settings_in):
    from trainer.app import train
    from trainer.tracking import TrackingError

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}")
        settings = settings_in(tmp_path)
        told = r"MLflow at http://127.* cannot be used .*unset MLFLOW_TRACKING_URI"
        with pytest.raises(TrackingError, match=told) as raised:
            train("made", params_of(LINEAR, tmp_path), settings, version=None, live=False)
    assert "secret" not in str(raised.value)
    assert not settings.models.exists()


def test_a_registry_that_dies_meanwhile_costs_no_training(tmp_path, monkeypatch, capsys, settings_in):
    import mlflow

    from trainer.app import train

    def gone(*_args, **_kwargs):
        raise ConnectionError("connection refused\nand a long story")

    monkeypatch.setattr(mlflow, "log_metrics", gone)
    monkeypatch.setattr(mlflow, "log_artifacts", gone)
    folder = train("made", params_of(LINEAR, tmp_path), settings_in(tmp_path), version=None, live=False)
    assert read_manifest(folder).version == "1"
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trainer:")]
    assert "MLflow no longer takes this run (connection refused); going on without" in said[0]


def test_an_interrupted_stage_leaves_no_version_and_the_run_is_marked(tmp_path, monkeypatch, settings_in):
    import mlflow

    from trainer import linear as kind
    from trainer.app import train

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(kind, "fit", interrupted)
    settings = settings_in(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train("made", params_of(LINEAR, tmp_path), settings, version=None, live=False)
    assert not settings.models.exists()
    (run,) = mlflow.search_runs(experiment_names=["made"], output_format="list")
    assert run.info.status == "KILLED"


@pytest.fixture
def command(monkeypatch, capsys):
    """Run ``python -m trainer`` here: its libraries take seconds to load in a process of their own."""
    from trainer.__main__ import main

    def run(*arguments: str, settings: TrainerSettings) -> tuple[int, str, list[str]]:
        monkeypatch.setenv("OBSERVA_MODELS", str(settings.models))
        monkeypatch.setenv("OBSERVA_TRAINER_CACHE", str(settings.trainer_cache))
        monkeypatch.setenv("OBSERVA_TRAINER_BUILD", str(settings.trainer_build))
        monkeypatch.setattr(sys, "argv", ["trainer", *arguments])
        capsys.readouterr()
        status = main()
        said = capsys.readouterr()
        return status, said.out, said.err.splitlines()

    return run


def test_a_reference_from_anyones_file_is_the_next_version(linear, tmp_path, command):
    settings, _ = linear
    labelled_csv(tmp_path / "reviews.csv", made_examples(150, 8))
    options = ("--text", "review", "--label", "sentiment")
    status, said, errors = command("reference", "made", str(tmp_path / "reviews.csv"), *options, settings=settings)
    assert (status, errors) == (0, [])
    assert "accuracy on the file" in said
    folder = max((settings.models / "made").glob("[0-9]*"), key=lambda path: int(path.name))
    first = settings.models / "made" / "1"
    assert read_reference(folder).count == 150
    assert read_reference(folder).source.startswith("reviews.csv, given by its owner")
    assert read_manifest(folder).metrics == read_manifest(first).metrics
    assert live_version(settings.models, "made") == "1"
    assert str(tmp_path) not in (folder / "reference.json").read_text()


def test_a_reference_without_labels_keeps_the_calibrator(linear, tmp_path):
    from trainer.own_reference import renew

    settings, _ = linear
    labelled_csv(tmp_path / "reviews.csv", made_examples(150, 8))
    folder, accuracy = renew(settings.models, "made", LabelledFile(tmp_path / "reviews.csv", Asked(text="review")))
    assert accuracy is None
    assert read_reference(folder).calibration == read_reference(settings.models / "made" / "1").calibration


def test_a_model_without_a_profile_gets_one_without_labels(linear, tmp_path, command):
    settings, _ = linear
    manifest, files = read_verified(settings.models / "made" / "1")
    del files["reference.json"]
    manifest = manifest.model_copy(update={"name": "imported", "files": {}})
    write_version(settings.models, manifest, files, lambda _: None)
    make_live(settings.models, "imported", "1")
    labelled_csv(tmp_path / "reviews.csv", made_examples(150, 8))
    lines = [{"review": text} for text, _ in csv.reader((tmp_path / "reviews.csv").read_text().splitlines()[1:])]
    file = tmp_path / "reviews.jsonl"
    file.write_text("\n".join(map(json.dumps, [*lines, {"review": None}])), encoding="utf-8-sig")
    status, said, _ = command("reference", "imported", str(file), "--text", "review", "--skip-bad", settings=settings)
    assert status == 0
    assert "JSON lines, UTF-8 with a byte order mark" in said
    assert "151 rows read, 150 used, 1 refused" in said
    listed = settings.trainer_build / "imported" / "refused.txt"
    assert f"refused rows: {listed}" in said
    assert listed.read_text() == "line 151: review is missing\n"
    assert read_reference(settings.models / "imported" / "2").calibration is None


@pytest.mark.parametrize("name", ["OBSERVA_MODELS", "OBSERVA_TRAINER_CACHE", "OBSERVA_TRAINER_THREADS"])
def test_an_empty_variable_is_one_that_is_not_set(name, monkeypatch):
    from broker.settings import load_settings

    monkeypatch.setenv(name, "")
    field = name.removeprefix("OBSERVA_").lower()
    assert getattr(load_settings(TrainerSettings), field) == TrainerSettings.model_fields[field].default


def test_a_variable_that_is_no_number_is_one_line(command, linear, monkeypatch):
    monkeypatch.setenv("OBSERVA_TRAINER_THREADS", "many")
    status, _, (line,) = command("benchmark", "made", settings=linear[0])
    assert status == 1
    assert "OBSERVA_TRAINER_THREADS" in line


@pytest.mark.parametrize(
    "given",
    [
        (("--text", "absent"), 150, "no absent; there is: review, sentiment"),
        (("--text", "review"), 20, "holds 20 texts; a profile needs at least 100"),
        (("--text", "sentiment", "--label", "review"), 150, "is unknown; the labels are '"),
    ],
    ids=["no such column", "too few", "unknown labels"],
)
def test_a_file_that_gives_no_profile_is_said_in_one_line(linear, tmp_path, command, given):
    options, texts, reason = given
    settings, _ = linear
    labelled_csv(tmp_path / "reviews.csv", made_examples(texts, 8))
    before = sorted(path.name for path in (settings.models / "made").iterdir())
    status, _, (line,) = command("reference", "made", str(tmp_path / "reviews.csv"), *options, settings=settings)
    assert status == 1
    assert line.startswith("trainer: ")
    assert reason in line
    assert sorted(path.name for path in (settings.models / "made").iterdir()) == before


def test_a_full_disk_is_said_in_one_line(monkeypatch, capsys, tmp_path):
    import errno

    from trainer import __main__ as entry

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "model.safetensors"))

    monkeypatch.setattr(entry, "train", full)
    monkeypatch.setattr(sys, "argv", ["trainer", "train", "sentiment"])
    assert entry.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.safetensors: No space left on device; no version was written; make room" in line


def test_a_stage_without_the_one_before_it_says_which_to_run(command, tmp_path, settings_in):
    status, _, (line,) = command("export", "sentiment-linear", settings=settings_in(tmp_path))
    assert status == 1
    assert "does not hold prepared data" in line
    assert "run the stage prepare" in line


def test_a_data_card_counts_and_holds_no_text(linear):
    settings, _ = linear
    card = json.loads((settings.trainer_build / "made" / "data" / "card.json").read_text())
    page = (settings.trainer_build / "made" / "data" / "card.md").read_text()
    parts = card["parts"]
    assert sum(part["texts"] for part in parts.values()) == card["data_sets"]["made"]["texts"] == 400
    assert set(parts["train"]["labels"]) == set(LABELS)
    assert card["digest"] in page
    assert "good" not in page
