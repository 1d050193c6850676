import pytest

from broker.errors import SettingsError
from trainer.params import PARAMS, read_params


def test_every_model_names_domains_and_archives_that_exist():
    params = read_params()
    for model in params.models.values():
        assert set(model.train_domains) <= params.domains.keys()
        assert model.kind == "linear" or model.encoder in params.archives


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
