"""From a pretrained encoder to an eight-bit graph that classifies."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from broker.manifest import digest_of
from trainer.calibrate import temperature
from trainer.candidate import Candidate
from trainer.checkpoint import FILES, Checkpoint, checkpoint, classifier, fitted
from trainer.evaluation import accuracy, agreement, label_ids
from trainer.export import to_onnx
from trainer.finetune import EpochReport, finetune, logits_of
from trainer.lean import lean
from trainer.onnx_model import TransformerGraph, softmax
from trainer.params import Archive, TransformerParams
from trainer.quantise import quantise
from trainer.resuming import Kept
from trainer.settings import TrainerSettings
from trainer.splits import Example, Splits, digest, normalised
from trainer.verify import (
    INVARIANCE_LIMIT,
    LEAST_AGREEMENT_EXPORT,
    LEAST_AGREEMENT_INT8,
    invariance_difference,
    require,
)

if TYPE_CHECKING:
    from transformers import DistilBertForSequenceClassification

RESUME = "resume.safetensors"  # beside the fitted folder, while training


def fit(  # noqa: PLR0913 by name only
    *,
    params: TransformerParams,
    archives: Mapping[str, Archive],
    splits: Splits,
    settings: TrainerSettings,
    folder: Path,
    report: Callable[[EpochReport], None],
) -> dict[str, float]:
    """Fine-tune on *splits*, write the checkpoint into *folder*, and return what calibration found.

    An interrupted call goes on, the next time, after the last epoch it finished.

    Raises:
        DataError: the encoder cannot be had.
        ConversionError: it is no encoder that can be fine-tuned.

    """
    import torch  # noqa: PLC0415 it loads in seconds: only those who train wait for it

    splits = normalised(splits, params.normalisation)
    found = checkpoint(params.base, archives, settings.trainer_cache)
    torch.set_num_threads(settings.trainer_threads)
    torch.manual_seed(params.seed)  # the head starts at random
    model = classifier(found, params.labels)
    tokenizer = plain_tokenizer(found.tokenizer)
    kept = Kept(folder.parent / RESUME, digest_of(f"{params} {digest(splits)} {digest_of(found.weights)}".encode()))
    loaded = Tokenizer.from_buffer(tokenizer)
    finetune(model, loaded, splits, params, report, keep=kept.write, resumed=kept.read())
    figures = _calibrated(model, loaded, splits, params)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    kept.path.unlink(missing_ok=True)
    return figures


def export(folder: Path, test: list[Example], params: TransformerParams) -> Candidate:
    """Return the graph of the checkpoint in *folder*, measured on *test*.

    Raises:
        NotGoodEnoughError: the exported graph does not answer as the model does.

    """
    found = Checkpoint(*((folder / name).read_bytes() for name in FILES))
    texts = normalised(Splits([], [], test), params.normalisation).test
    return candidate_of(fitted(found).train(mode=False), found.tokenizer, texts, params)


def candidate_of(
    model: "DistilBertForSequenceClassification",
    tokenizer: bytes,
    test: list[Example],
    params: TransformerParams,
) -> Candidate:
    """Return the graph of *model*, in eight bits unless that changes too many answers on *test*."""
    texts = [example.text for example in test]
    content = to_onnx(model)
    full = TransformerGraph(content, tokenizer, params.max_length)
    small_content = quantise(content)
    if model.config.activation == "gelu":
        small_content = lean(small_content, model.config.n_heads)
    small = TransformerGraph(small_content, tokenizer, params.max_length)
    expected, served = full.probabilities(texts), small.probabilities(texts)
    metrics = {
        "agreement_torch": agreement(softmax(logits_of(model, full.encode(texts)).numpy()), expected),
        "agreement_fp32": agreement(expected, served),
        "accuracy_fp32": accuracy(label_ids([example.label for example in test]), expected.argmax(axis=1)),
        "probability_difference_fp32": float(np.abs(expected - served).max()),
        "invariance_max_difference": invariance_difference(small, texts, params.seed),
    }
    require("agreement of the exported graph with torch", metrics["agreement_torch"], LEAST_AGREEMENT_EXPORT)
    if metrics["agreement_fp32"] < LEAST_AGREEMENT_INT8 or metrics["invariance_max_difference"] > INVARIANCE_LIMIT:
        print(f"eight bits change too much, single precision is kept: {metrics}")
        small_content, small = content, full
        unchanged = {"agreement_fp32": 1.0, "probability_difference_fp32": 0.0}
        metrics |= unchanged | {"invariance_max_difference": invariance_difference(full, texts, params.seed)}
    return Candidate({"model.onnx": small_content, "tokenizer.json": tokenizer}, small, params.normalisation, metrics)


def plain_tokenizer(content: bytes) -> bytes:
    """Return the tokenizer without its own padding and truncation: who loads it sets both."""
    tokenizer = Tokenizer.from_buffer(content)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    plain: str = tokenizer.to_str()
    return plain.encode()


def _calibrated(
    model: "DistilBertForSequenceClassification",
    tokenizer: Tokenizer,
    splits: Splits,
    params: TransformerParams,
) -> dict[str, float]:
    """Divide the last layer by the temperature that validation asks for: the graph needs no further operator."""
    import torch  # noqa: PLC0415

    if params.calibration is None:
        return {}
    tokenizer.no_padding()
    tokenizer.enable_truncation(params.max_length)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch([text for text, _ in splits.valid])]
    logits = logits_of(model, encoded).double().numpy()
    found = temperature(logits, label_ids([label for _, label in splits.valid]))
    with torch.no_grad():
        model.classifier.weight /= found
        model.classifier.bias /= found
    return {"temperature": found}
