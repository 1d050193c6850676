"""``python -m trainer train NAME`` from archive to version folder, on made data."""

# ruff: noqa: PLC0415 - imported inside, so that an environment without the libraries can still collect and skip these

import numpy as np
import pytest

from broker.manifest import live_version, read_reference, read_verified
from tests.trainer.made import LINEAR, PARAMS, made_examples, wheel
from trainer.params import read_params
from trainer.settings import TrainerSettings
from trainer.verify import NotGoodEnoughError

pytestmark = [
    pytest.mark.trainer,
    pytest.mark.filterwarnings("ignore"),  # exporters and mlflow use what their own libraries deprecate
    pytest.mark.timeout(600),  # importing torch and the exporter alone took two minutes on a busy machine
]


@pytest.fixture(autouse=True)
def _no_server_from_outside(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def settings_in(folder) -> TrainerSettings:
    return TrainerSettings(models=folder / "models", trainer_cache=folder, trainer_threads=1)


@pytest.mark.parametrize("chosen", [LINEAR, PARAMS.model_copy(update={"epochs": 4})], ids=lambda params: params.kind)
def test_a_command_makes_verified_versions_and_tracked_runs(chosen, measurements, bert, tokenizer, tmp_path):
    import mlflow

    from trainer.app import train

    shipped = read_params()
    texts = {f"{example.text} {number}": example for number, example in enumerate(made_examples(400, 4))}
    lines = "".join(f"{i}\t{2.0 if e.label else -2.0}\t{text}\n" for i, (text, e) in enumerate(texts.items()))
    archives = {
        "vader": measurements(dict.fromkeys(shipped.domains.values(), lines))[0],
        "made": wheel(tmp_path / "encoder-1-py3-none-any.whl", bert, tokenizer),
    }
    params = shipped.model_copy(update={"archives": archives, "models": {"made": chosen}})
    settings = settings_in(tmp_path)

    folders = [train("made", params, settings, version=None, live=False) for _ in range(2)]

    assert [folder.name for folder in folders] == ["1", "2"]
    assert live_version(settings.models, "made") == "1"
    manifest, _ = read_verified(folders[0])
    assert manifest.metrics["accuracy"] > 0.9
    assert read_reference(folders[0]).count > 20
    client = mlflow.MlflowClient()
    listed = client.get_model_version_by_alias("made", "live")
    assert listed.tags["version"] == "1"
    run = client.get_run(listed.run_id)
    assert run.data.tags["data_digest"] == manifest.data_digest
    assert run.data.metrics["accuracy"] == pytest.approx(manifest.metrics["accuracy"])
    assert {each.path for each in client.list_artifacts(listed.run_id, "model")} >= {"model/model.onnx"}


def test_a_model_below_its_target_is_not_written(measurements, tmp_path):
    from trainer.app import train

    shipped = read_params()
    draw = np.random.default_rng(9)
    lines = "".join(f"{i}\t{draw.choice([-2, 2])}\ttext {i}\n" for i in range(200))  # labels by chance
    archives = {"vader": measurements(dict.fromkeys(shipped.domains.values(), lines))[0]}
    params = shipped.model_copy(update={"archives": archives, "models": {"made": LINEAR}})
    settings = settings_in(tmp_path)
    with pytest.raises(NotGoodEnoughError, match=r"accuracy on the test texts is 0.*nothing was written"):
        train("made", params, settings, version=None, live=False)
    assert not settings.models.exists()
