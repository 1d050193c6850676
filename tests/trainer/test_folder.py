import pytest

from broker.errors import ModelRefusedError
from broker.manifest import ModelManifest, live_version, read_verified
from trainer import folder
from trainer.folder import VersionExistsError, code_revision, make_live, next_version, now, write_version

FILES = {"model.onnx": b"graph", "vocabulary.txt": b"a\nb\n"}


def manifest(version: str = "1") -> ModelManifest:
    return ModelManifest(
        name="made",
        version=version,
        kind="linear",
        labels=("negative", "positive"),
        max_length=8,
        metrics={"accuracy": 1.0},
        data_digest="0" * 64,
        code_revision=code_revision(),
        created=now(),
        files={},
    )


def test_a_written_version_is_what_its_manifest_says(tmp_path):
    read, files = read_verified(write_version(tmp_path, manifest(), FILES))
    assert files == FILES
    assert read.name == "made"


def test_a_changed_byte_is_found(tmp_path):
    written = write_version(tmp_path, manifest(), FILES)
    (written / "model.onnx").write_bytes(b"grapf")
    with pytest.raises(ModelRefusedError, match="sha256 differs"):
        read_verified(written)


def test_a_version_is_written_once(tmp_path):
    write_version(tmp_path, manifest(), FILES)
    with pytest.raises(VersionExistsError, match="choose another version"):
        write_version(tmp_path, manifest(), {"model.onnx": b"other"})


def test_an_interrupted_write_leaves_no_half_folder(tmp_path, monkeypatch):
    written = []

    def interrupted(path, content):
        written.append(path)
        path.write_bytes(content[:1])
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(folder, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_version(tmp_path, manifest(), FILES)
    assert len(written) == 2
    assert not (tmp_path / "made").exists()


def test_the_next_version_follows_the_highest_number(tmp_path):
    assert next_version(tmp_path, "made") == "1"
    for version in ("2", "10", "2b"):
        write_version(tmp_path, manifest(version), FILES)
    assert next_version(tmp_path, "made") == "11"


def test_every_change_of_the_live_version_has_its_generation(tmp_path):
    (tmp_path / "made").mkdir()
    assert make_live(tmp_path, "made", "1").generation == 1
    assert make_live(tmp_path, "made", "2").generation == 2
    assert live_version(tmp_path, "made") == "2"
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["live.json"]
