# ruff: noqa: PLC0415 - imported inside, so that an environment without the libraries can still collect and skip

import io
import shutil
import tarfile
import zipfile
from importlib.util import find_spec

import pytest

from broker.manifest import digest_of
from tests.trainer.made import WORDS
from trainer.params import Archive
from trainer.settings import TrainerSettings


def pytest_runtest_setup(item):
    if item.get_closest_marker("trainer") and find_spec("torch") is None:
        pytest.skip("run: just install-trainer")


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Make MLflow's tables once: they take longer than any training here."""
    from trainer.tracking import tracked

    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        with tracked("nothing", folder):
            pass
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def settings_in(store):
    def make(folder) -> TrainerSettings:
        shutil.copyfile(store, folder / "mlflow.db")
        return TrainerSettings(
            models=folder / "models", trainer_cache=folder, trainer_build=folder / "build", trainer_threads=1
        )

    return make


@pytest.fixture
def measurements(tmp_path):
    """Build an archive laid out as the VADER source distribution is, from {domain file: lines}."""

    def build(files: dict[str, str]) -> tuple[Archive, bytes]:
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w:gz") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content.encode())
                tar.addfile(member, io.BytesIO(content.encode()))
        outer = io.BytesIO()
        with zipfile.ZipFile(outer, "w") as archive:
            archive.writestr("made-1/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())
        content = outer.getvalue()
        (tmp_path / "made-1.zip").write_bytes(content)
        pinned = Archive(
            requirement="made==1",
            source_distribution=True,
            file="made-1.zip",
            sha256=digest_of(content),
        )
        return pinned, content

    return build


@pytest.fixture
def tabs(tmp_path):
    """Build an archive of tab-separated files with three header lines, from {file: [(text, label)]}."""

    def build(files: dict[str, list[tuple[str, str]]]) -> Archive:
        path = tmp_path / "tabs-1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, rows in files.items():
                lines = ["Category\tText", "d\tstring", "class\t", *(f"{label}\t{text}" for text, label in rows)]
                archive.writestr(f"made/datasets/{name}", "\n".join(lines) + "\n")
        digest = digest_of(path.read_bytes())
        return Archive(requirement="tabs==1", source_distribution=False, file=path.name, sha256=digest)

    return build


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({word: position for position, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


@pytest.fixture(scope="module")
def bert():
    import torch
    from transformers import BertConfig, BertModel

    torch.set_num_threads(1)  # threads that wait for each other on a busy machine take minutes over these
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=32,
    )
    return BertModel(config).train(mode=False)
