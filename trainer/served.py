"""A classifier from the files that a version's folder holds, run as the worker runs it."""

import io
from collections.abc import Mapping

import numpy as np

from broker.bag import BagSettings
from broker.text import Normalisation
from trainer.bag import BagClassifier, BagModel
from trainer.onnx_model import Classifier, TransformerGraph


def classifier_of(kind: str, files: Mapping[str, bytes], max_length: int, normalisation: Normalisation) -> Classifier:
    """Return the model of *kind* that *files*, by name, hold."""
    if kind == "transformer":
        return TransformerGraph(files["model.onnx"], files["tokenizer.json"], max_length)
    settings = BagSettings.model_validate_json(files["bag.json"])
    terms = tuple(files["terms.txt"].decode().removesuffix("\n").split("\n"))
    weights = np.load(io.BytesIO(files["weights.npy"]), allow_pickle=False)
    return BagClassifier(BagModel(settings, terms, weights, normalisation.lowercase))
