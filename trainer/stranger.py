"""A stranger's checkpoint, a folder as Hugging Face's libraries write it, read without running any code of its own."""

import json
import logging
import random
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from broker.errors import ModelRefusedError
from broker.text import Normalisation
from trainer.candidate import Candidate
from trainer.evaluation import agreement
from trainer.onnx_model import Probabilities, TransformerGraph, softmax
from trainer.pooling import NoHiddenStateError, with_pooled
from trainer.quantise import quantise

AS_IT_IS: Final = Normalisation(unicode_form=None, lowercase=False, collapse_whitespace=False)
LONGEST: Final = 512  # tokens, where the checkpoint names no maximum
TEXTS: Final = 96
CODE: Final = ("auto_map", "custom_pipelines")  # keys of a config that ask for Python files of the folder
PLAIN: Final = ("a", "the", "good", "bad", "film", "plot", "was", "not", "very", "market", "goal", "new", "one")


def converted(folder: Path, *, max_length: int | None, int8: bool) -> tuple[Candidate, tuple[str, ...], int]:
    """Return the graph of the classifier in *folder*, its labels, and how many tokens it reads.

    Raises:
        ModelRefusedError: a file is missing or damaged, or it is no classifier of one label a text.

    """
    config, labels, model, tokenizer = _read(folder)
    most = min(max_length or LONGEST, _places(config), LONGEST if max_length is None else max_length)
    graph = _exported(model)
    full = TransformerGraph(graph, tokenizer, most)
    texts = sample(Tokenizer.from_buffer(tokenizer))
    expected = softmax(_logits(model, full.encode(texts)))
    served = TransformerGraph(quantise(graph), tokenizer, most) if int8 else full
    content = quantise(graph) if int8 else graph
    found = served.probabilities(texts)
    metrics = {
        "agreement_source": agreement(expected, found),
        "probability_difference_source": float(np.abs(expected - found).max()),
    }
    return Candidate({"model.onnx": content, "tokenizer.json": tokenizer}, served, AS_IT_IS, metrics), labels, most


def answers(folder: Path, texts: Sequence[str], max_length: int) -> tuple[tuple[str, ...], Probabilities]:
    """Return the labels of the checkpoint in *folder*, and its own probabilities of *texts* [texts, labels].

    Raises:
        ModelRefusedError: a file is missing or damaged, or it is no classifier of one label a text.

    """
    _, labels, model, tokenizer = _read(folder)
    reader = Tokenizer.from_str(tokenizer.decode())
    reader.enable_truncation(max_length)
    return labels, softmax(_logits(model, [encoding.ids for encoding in reader.encode_batch(list(texts))]))


def labels_of(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the labels of a checkpoint in id order.

    Raises:
        ModelRefusedError: it gives no single label, or its labels are not numbered from 0.

    """
    named = config.get("id2label") or {str(at): f"LABEL_{at}" for at in range(int(config.get("num_labels", 2)))}
    try:
        numbered = {int(number): str(label) for number, label in named.items()}
    except (AttributeError, ValueError) as error:
        raise ModelRefusedError("config.json: id2label is no map from numbers to labels") from error
    if sorted(numbered) != list(range(len(numbered))) or len(numbered) < 2:  # noqa: PLR2004 one label is no choice
        raise ModelRefusedError(
            f"config.json: id2label numbers {len(numbered)} labels; it takes 0, 1, ... and at least 2"
        )
    if config.get("problem_type") in {"regression", "multi_label_classification"}:
        raise ModelRefusedError(
            f"config.json: problem_type is {config['problem_type']}; one label a text is served here"
        )
    return tuple(numbered[at] for at in range(len(numbered)))


def sample(tokenizer: Tokenizer) -> list[str]:
    """Return texts of 1 to 60 words of the tokenizer's own vocabulary, the same ones each time."""
    words = sorted(word for word in tokenizer.get_vocab() if word.isalpha() and word.isascii()) or list(PLAIN)
    draw = random.Random(0)
    return ["", *(" ".join(draw.choices(words, k=draw.randint(1, 60))) for _ in range(TEXTS - 1))]


def _read(folder: Path) -> tuple[dict[str, Any], tuple[str, ...], Any, bytes]:
    """Return config, labels, model and tokenizer of the checkpoint in *folder*."""
    config = _config(folder)
    labels = labels_of(config)
    try:
        model, tokenizer = _loaded(folder)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelRefusedError(f"{folder}: the checkpoint cannot be read ({_line(error)})") from error
    return config, labels, model, tokenizer


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelRefusedError(f"{folder}: config.json cannot be read ({_line(error)})") from error
    if not isinstance(config, dict):
        raise ModelRefusedError(f"{folder}: config.json is no JSON object")
    if asked := [key for key in CODE if key in config]:
        raise ModelRefusedError(f"{folder}: config.json asks for code of its own ({asked[0]}), which is not run")
    if not list(folder.glob("*.safetensors")):
        raise ModelRefusedError(
            f"{folder}: no .safetensors file; a .bin file is a pickle and is not read: convert it first"
        )
    return config


def _loaded(folder: Path) -> tuple[Any, bytes]:
    """Return the model and its tokenizer, without padding and truncation of its own."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: PLC0415 loads in seconds

    logging.getLogger("transformers").setLevel(logging.ERROR)
    options = {"local_files_only": True, "trust_remote_code": False}
    model, report = AutoModelForSequenceClassification.from_pretrained(  # nosec B615 a local folder, and no other
        folder, use_safetensors=True, output_loading_info=True, **options
    )
    if report["missing_keys"]:
        raise ValueError(f"its weights lack {min(report['missing_keys'])}: it was not trained to classify")
    wrapped = AutoTokenizer.from_pretrained(folder, use_fast=True, **options)  # nosec B615 as above
    tokenizer = Tokenizer.from_str(wrapped.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    plain: str = tokenizer.to_str()
    return model.float().train(mode=False), plain.encode()


def _places(config: dict[str, Any]) -> int:
    """Return how many tokens have a position; RoBERTa's first two are taken."""
    found = int(config.get("max_position_embeddings", LONGEST))
    return found - 2 if "roberta" in str(config.get("model_type")) else found


def _exported(model: Any) -> bytes:
    from optimum.exporters.onnx import onnx_export_from_model  # noqa: PLC0415 only those who train have it

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: what the graph answers is compared with the model right after
        try:
            onnx_export_from_model(model, Path(folder), task="text-classification", opset=18, do_validation=False)
        except (ValueError, KeyError, RuntimeError) as error:
            raise ModelRefusedError(f"the checkpoint cannot be exported to ONNX ({_line(error)})") from error
        content = _without_types(Path(folder, "model.onnx").read_bytes())
    try:
        return with_pooled(content)
    except NoHiddenStateError:
        return content  # the monitor sees no embedding, and everything else


def _without_types(content: bytes) -> bytes:
    """Return the graph with token types of its own, all 0, where it wants them as an input: one text has no others."""
    from onnx import helper, load_from_string  # noqa: PLC0415 only those who train have it

    model = load_from_string(content)
    kept = [put for put in model.graph.input if put.name != "token_type_ids"]
    if len(kept) == len(model.graph.input):
        return content
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.node.insert(0, helper.make_node("Sub", ["input_ids", "input_ids"], ["token_type_ids"]))
    changed: bytes = model.SerializeToString()
    return changed


def _logits(model: Any, rows: Sequence[list[int]]) -> NDArray[np.float32]:
    import torch  # noqa: PLC0415 it loads in seconds

    with torch.inference_mode():
        found = [
            model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long))
            .logits[0]
            .numpy()
            for ids in rows
        ]
    return np.stack(found)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
