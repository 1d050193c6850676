"""docs/tutorial-your-own-model.md as a person follows it, with a checkpoint that nobody here has seen."""

import json
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from broker.manifest import read_manifest
from tests.deploy.conftest import Stack

ROOT = Path(__file__).resolve().parents[2]
TRAINER = ROOT / ".venv-trainer" / "bin" / "python"
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["the", "a", "parcel", "arrived", "late", "broken", "today", "thank", "you", "where", "is", "my", "refund"],
]
WIDTH, DEEP = 16, 32

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(400),  # torch and the exporter alone load for half a minute on a busy machine
    pytest.mark.skipif(not TRAINER.exists(), reason="run: just install-trainer"),
]


def checkpoint(folder: Path, seed: int = 4) -> None:
    """Two layers at random weights, its own words and three labels, as ``save_pretrained`` writes them."""
    folder.mkdir()
    config = {
        "model_type": "distilbert",
        "architectures": ["DistilBertForSequenceClassification"],
        "vocab_size": len(WORDS),
        "dim": WIDTH,
        "hidden_dim": DEEP,
        "n_layers": 2,
        "n_heads": 2,
        "max_position_embeddings": 40,
        "id2label": {"0": "question", "1": "complaint", "2": "praise"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    (folder / "model.safetensors").write_bytes(safetensors(weights(seed)))


def weights(seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": (40, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(2):
        at = f"transformer.layer.{layer}."
        lines = {
            **dict.fromkeys(
                ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"), (WIDTH, WIDTH)
            )
        }
        lines |= {"ffn.lin1": (DEEP, WIDTH), "ffn.lin2": (WIDTH, DEEP)}
        for name, shape in lines.items():
            shapes |= {f"{at}{name}.weight": shape, f"{at}{name}.bias": shape[:1]}
        norms += [f"{at}sa_layer_norm", f"{at}output_layer_norm"]
    found = {f"distilbert.{name}": draw.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    for name in norms:
        found |= {
            f"distilbert.{name}.weight": np.ones(WIDTH, np.float32),
            f"distilbert.{name}.bias": np.zeros(WIDTH, np.float32),
        }
    for name, rows in (("pre_classifier", WIDTH), ("classifier", 3)):
        found |= {
            f"{name}.weight": draw.normal(0, 1, (rows, WIDTH)).astype(np.float32),
            f"{name}.bias": np.zeros(rows, np.float32),
        }
    return found


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        end = len(body) + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(body), end]}
        body += tensor.tobytes()
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + body


def commands() -> list[list[str]]:
    page = (ROOT / "docs" / "tutorial-your-own-model.md").read_text()
    block = re.search(r"```sh\n(just import-model .*?)```", page, re.DOTALL)
    assert block
    return [shlex.split(line) for line in block[1].splitlines()]


@pytest.fixture
def stack(tmp_path):
    found = Stack(tmp_path, ROOT)
    found.environment |= {"OBSERVA_MODELS": str(tmp_path / "models"), "OBSERVA_WORKERS": "1"}
    shutil.copytree(ROOT / "models" / "sentiment", tmp_path / "models" / "sentiment")  # what a clone has beside it
    yield found
    found.end()


def test_a_strangers_checkpoint_is_served_by_three_commands(stack, tmp_path):
    checkpoint(tmp_path / "my-checkpoint")
    (_, importing, *path), (_, up), (_, predict, *asked) = commands()
    assert (importing, up, predict) == ("import-model", "up", "predict")

    def run(python: Path | str, module: str, *arguments: str, status: int = 0) -> str:
        environment = stack.environment | {
            "OBSERVA_GATEWAY_URL": f"http://127.0.0.1:{stack.gateway_port}",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [str(python), "-m", module, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    assert "written and verified" in run(TRAINER, "trainer.importing", *path)
    manifest = read_manifest(tmp_path / "models" / "mine" / "1")
    assert manifest.labels == ("question", "complaint", "praise")
    assert manifest.max_length == 40
    stack.ok("up")
    answer = json.loads(run(sys.executable, "cli", "predict", "--json", *asked))
    assert (answer["model"], answer["version"]) == ("mine", "1")
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert set(answer["probabilities"]) == set(manifest.labels)
    folder = str(tmp_path / "models" / "mine" / "1")
    assert "sound" in run(sys.executable, "worker.verify", folder)
    assert "answers as its source" in run(TRAINER, "trainer.sourced", folder, "--source", "my-checkpoint")
    checkpoint(tmp_path / "another", seed=5)
    assert "otherwise than its source" in run(TRAINER, "trainer.sourced", folder, "--source", "another", status=1)
