import pytest

from broker.errors import SettingsError
from trainer.params import PARAMS, read_params


def test_every_model_names_data_sets_and_archives_that_exist():
    params = read_params()
    for model in params.models.values():
        assert {*model.train_on, *model.judge_on} <= params.datasets.keys()
        assert model.kind == "linear" or model.base in params.archives


def test_an_unknown_parameter_is_refused_by_name(tmp_path):
    changed = tmp_path / "params.yaml"
    changed.write_text(PARAMS.read_text().replace("epochs:", "epoches:"))
    with pytest.raises(SettingsError, match="epoches"):
        read_params(changed)


def test_an_archive_without_a_digest_is_refused(tmp_path):
    changed = tmp_path / "params.yaml"
    changed.write_text("\n".join(line for line in PARAMS.read_text().splitlines() if "sha256" not in line))
    with pytest.raises(SettingsError, match="sha256"):
        read_params(changed)


def test_every_archive_of_a_data_set_is_pinned():
    params = read_params()
    named = {source.archive for source in params.datasets.values() if source.source in {"ratings", "tab"}}
    assert named <= params.archives.keys()
