"""Checkpoints as people have them: made tiny with the libraries' own classes, converted, and held to the libraries."""

# ruff: noqa: PLC0415 - imported inside, so that an environment without the libraries can still collect and skip

import json
import shutil
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from broker.errors import ModelRefusedError
from trainer import sourced, stranger
from trainer.onnx_model import TransformerGraph
from worker.models import load_version

ROOT = Path(__file__).resolve().parents[2]
LETTERS = string.ascii_lowercase[:7]
WORDS = ["<pad>", "<unk>", "<s>", "</s>", *(first + second for first in LETTERS for second in LETTERS)]
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "num_labels": 3,
    "pad_token_id": 0,
    "initializer_range": 0.5,
}
PADDED_FIRST = ("roberta", "xlm-roberta", "camembert", "mpnet", "data2vec-text", "ibert")
OF_KIND = {
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "big_bird": {"attention_type": "original_full"},
    "modernbert": {"cls_token_id": 2, "sep_token_id": 3, "global_attn_every_n_layers": 2, "local_attention": 8},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False},
    **{kind: {"embedding_size": 16} for kind in ("albert", "electra", "squeezebert", "convbert", "roformer")},
    **{kind: {"pad_token_id": 1} for kind in PADDED_FIRST},
}

pytestmark = [
    pytest.mark.trainer,
    pytest.mark.filterwarnings("ignore"),  # of the libraries, when they trace
]


def made_tokenizer(folder, **settings):
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, **settings).save_pretrained(folder)


def made_model(folder, kind, change=None, **settings):
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**(SIZES | OF_KIND.get(kind, {}) | settings))
    model = AutoModelForSequenceClassification.from_config(config)
    if change:
        change(model)
    model.save_pretrained(folder)


def converted(tmp_path, **asked):
    """Convert tmp_path/mine in this process, which is quicker, and return its folder and what was found."""
    (tmp_path / "made").mkdir()
    stranger.perform(tmp_path / "mine", tmp_path / "made", {"max_length": None, "int8": False} | asked)
    return tmp_path / "made", stranger.Found.model_validate_json((tmp_path / "made" / "found.json").read_bytes())


def read_by(tmp_path, made, most, texts):
    """Return the ids of *texts* as the library reads them from the folder, and as we do from the version."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tmp_path / "mine", local_files_only=True)
    graph = TransformerGraph((made / "model.onnx").read_bytes(), (made / "tokenizer.json").read_bytes(), most)
    return [theirs(text, truncation=True, max_length=most)["input_ids"] for text in texts], graph.encode(texts)


@pytest.mark.parametrize("kind", stranger.CONVERTED)
def test_each_kind_that_a_message_lists_is_converted_with_every_position_that_it_has(tmp_path, kind):
    made_model(tmp_path / "mine", kind)
    made_tokenizer(tmp_path / "mine")
    _, found = converted(tmp_path)
    assert found.metrics["agreement_source"] == 1.0
    assert found.metrics["ties_source"] < 5
    assert found.max_length == (38 if kind in PADDED_FIRST else 40)


@pytest.mark.parametrize("kind", ["bart", "t5", "xlm", "convbert"])
def test_another_kind_is_refused_with_its_name_or_its_difference(tmp_path, kind):
    own = {"decoder_start_token_id": 2, "eos_token_id": 3, "bos_token_id": 2, "d_model": 16, "encoder_layers": 1}
    named = {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "n_words": len(WORDS), "embed_init_std": 0.5}
    made_model(tmp_path / "mine", kind, **{"bart": own, "t5": own, "xlm": named}.get(kind, {}))
    made_tokenizer(tmp_path / "mine")
    with pytest.raises(ModelRefusedError, match=rf"a {kind} cannot be converted here|answers otherwise"):
        converted(tmp_path)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_on_which_a_tokenizer_cuts_is_kept(tmp_path, side):
    made_model(tmp_path / "mine", "bert")
    made_tokenizer(tmp_path / "mine", truncation_side=side, padding_side="left")
    made, found = converted(tmp_path)
    theirs, ours = read_by(tmp_path, made, found.max_length, ["aa " * 50 + "bb " * 50, "aa bb"])
    assert ours == theirs
    assert (WORDS.index("bb") in ours[0]) == (side == "left")


def test_no_more_tokens_are_read_than_the_tokenizer_allows(tmp_path):
    made_model(tmp_path / "mine", "bert")
    made_tokenizer(tmp_path / "mine", model_max_length=20)
    assert converted(tmp_path)[1].max_length == 20


def test_case_accents_and_added_tokens_are_read_as_the_library_reads_them(tmp_path):
    from transformers import BertTokenizerFast

    (tmp_path / "mine").mkdir()
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nété\nete\nÉté")
    tokenizer = BertTokenizerFast(str(tmp_path / "vocab.txt"), do_lower_case=True, strip_accents=False)
    tokenizer.add_tokens(["zz top"])
    tokenizer.save_pretrained(tmp_path / "mine")
    made_model(tmp_path / "mine", "bert")
    made, found = converted(tmp_path)
    theirs, ours = read_by(tmp_path, made, found.max_length, ["Été ete zz top"])
    assert ours == theirs == [[2, 5, 6, 8, 3]]


@pytest.mark.parametrize(
    ("kind", "tokenizer", "file"),
    [
        ("xlm-roberta", "XLMRobertaTokenizer", "sentencepiece.bpe.model"),
        ("camembert", "CamembertTokenizer", "sentencepiece.bpe.model"),
        ("albert", "AlbertTokenizer", "spiece.model"),
        ("deberta-v2", "DebertaV2Tokenizer", "spm.model"),
    ],
)
def test_a_sentencepiece_vocabulary_without_tokenizer_json_is_converted(tmp_path, kind, tokenizer, file):
    import sentencepiece

    draw = np.random.default_rng(0)
    lines = [" ".join(draw.choice(WORDS[4:], 12)) for _ in range(300)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(tmp_path / "made_of"), vocab_size=60, minloglevel=2
    )
    made_model(tmp_path / "mine", kind, vocab_size=80)
    (tmp_path / "mine" / file).write_bytes((tmp_path / "made_of.model").read_bytes())
    (tmp_path / "mine" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer}))
    made, found = converted(tmp_path)
    theirs, ours = read_by(tmp_path, made, found.max_length, ["aa bb cc", "Aa  é", "ab " * 99])
    assert ours == theirs
    assert len(set(ours[0])) > 3


def test_a_tokenizer_without_a_fast_form_is_refused_with_the_command_that_makes_one(tmp_path):
    made_model(tmp_path / "mine", "roberta")
    (tmp_path / "mine" / "vocab.txt").write_text("aa 1\nbb 1\n")
    (tmp_path / "mine" / "bpe.codes").write_text("#version: 0.2\na a 1\n")
    (tmp_path / "mine" / "tokenizer_config.json").write_text('{"tokenizer_class": "BertweetTokenizer"}')
    with pytest.raises(ModelRefusedError, match=r"BertweetTokenizer, has no form as tokenizer\.json"):
        converted(tmp_path)


def test_no_tokenizer_at_all_is_refused_with_the_command_that_makes_one(tmp_path):
    made_model(tmp_path / "mine", "bert")
    with pytest.raises(ModelRefusedError, match=r"its tokenizer cannot be read .*save_pretrained"):
        converted(tmp_path)


def test_weights_that_are_no_numbers_are_refused_as_such(tmp_path):
    made_model(tmp_path / "mine", "bert", lambda model: model.classifier.bias.data.fill_(float("nan")))
    made_tokenizer(tmp_path / "mine")
    with pytest.raises(ModelRefusedError, match=r"not all finite numbers: classifier\.bias"):
        converted(tmp_path)


def test_a_version_is_held_to_the_names_order_and_tokens_of_its_source(tmp_path, monkeypatch):
    named = {"id2label": {0: "bad", 1: "fair", 2: "good"}}
    made_model(tmp_path / "mine", "bert", **named)
    made_tokenizer(tmp_path / "mine", truncation_side="left")
    command = [sys.executable, "-m", "trainer.importing", str(tmp_path / "mine")]
    environment = {"OBSERVA_MODELS": str(tmp_path / "models"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shutil.copytree(tmp_path / "models" / "mine" / "1", tmp_path / "models" / "mine" / "2")
    manifest = json.loads((tmp_path / "models" / "mine" / "2" / "model.json").read_text())
    (tmp_path / "models" / "mine" / "2" / "model.json").write_text(
        json.dumps(manifest | {"labels": ["good", "fair", "bad"]})
    )
    assert load_version(tmp_path / "models" / "mine" / "1").model.predict(["aa " * 99])[0].truncated

    def answers(folder, texts, most):  # as stranger.answers, in this process
        (tmp_path / "said").mkdir(exist_ok=True)
        stranger.perform(folder, tmp_path / "said", {"texts": texts, "max_length": most})
        return stranger.Answers.model_validate_json((tmp_path / "said" / "found.json").read_bytes())

    monkeypatch.setattr(sourced, "answers", answers)
    said, passed = sourced.compare(tmp_path / "models" / "mine" / "1", tmp_path / "mine")
    assert passed, said
    said, passed = sourced.compare(tmp_path / "models" / "mine" / "2", tmp_path / "mine")
    assert (said, passed) == ("labels bad, fair, good in the checkpoint, good, fair, bad in the version", False)
    made_tokenizer(tmp_path / "mine", truncation_side="right")
    said, passed = sourced.compare(tmp_path / "models" / "mine" / "1", tmp_path / "mine")
    assert not passed
    assert "read as other tokens" in said
