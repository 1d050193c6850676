"""From a pretrained encoder to an eight-bit graph that classifies."""

from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from broker.text import Normalisation
from trainer.candidate import Candidate
from trainer.convert import classifier_from
from trainer.data import fetch, member
from trainer.evaluation import accuracy, agreement, label_ids
from trainer.export import to_onnx
from trainer.finetune import EpochReport, finetune, logits_of
from trainer.onnx_model import TransformerGraph, softmax
from trainer.params import Archive, TransformerParams
from trainer.quantise import quantise
from trainer.settings import TrainerSettings
from trainer.splits import Example, Splits, normalised
from trainer.tracking import Run
from trainer.verify import (
    INVARIANCE_LIMIT,
    LEAST_AGREEMENT_EXPORT,
    LEAST_AGREEMENT_INT8,
    invariance_difference,
    require,
)

if TYPE_CHECKING:
    from transformers import DistilBertForSequenceClassification

NORMALISATION = Normalisation()  # the tokenizer makes lower case itself


def make(params: TransformerParams, encoder: Archive, splits: Splits, settings: TrainerSettings, run: Run) -> Candidate:
    """Fine-tune the pretrained *encoder* on *splits* and make its graph.

    Raises:
        DataError: the encoder cannot be had.
        NotGoodEnoughError: the exported graph does not answer as the model does.

    """
    import torch  # noqa: PLC0415 it loads in seconds: only those who train wait for it

    splits = normalised(splits, NORMALISATION)
    archive = fetch(encoder, settings.trainer_cache)
    torch.set_num_threads(settings.trainer_threads)
    torch.manual_seed(params.seed)  # the head starts at random
    config, weights = member(archive, "model/config.json"), member(archive, "model/model.safetensors")
    model = classifier_from(config, weights, params.labels)
    tokenizer = plain_tokenizer(member(archive, "model/tokenizer.json"))

    def report(epoch: EpochReport) -> None:
        print(f"epoch {epoch.epoch}: validation loss {epoch.valid_loss:.4f}, accuracy {epoch.valid_accuracy:.4f}")
        run.log({name: value for name, value in epoch._asdict().items() if name != "epoch"}, step=epoch.epoch)

    finetune(model, Tokenizer.from_buffer(tokenizer), splits, params, report)
    return candidate_of(model, tokenizer, splits.test, params)


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
    return Candidate({"model.onnx": small_content, "tokenizer.json": tokenizer}, small, NORMALISATION, metrics)


def plain_tokenizer(content: bytes) -> bytes:
    """Return the tokenizer without its own padding and truncation: who loads it sets both."""
    tokenizer = Tokenizer.from_buffer(content)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    plain: str = tokenizer.to_str()
    return plain.encode()
