"""A model that was made and not yet written."""

from dataclasses import dataclass

from broker.text import Normalisation
from trainer.onnx_model import Classifier


@dataclass(frozen=True)
class Candidate:
    """A graph with what is needed to serve and to judge it."""

    files: dict[str, bytes]  # model.onnx, and tokenizer.json where it has one
    classifier: Classifier  # that graph, running
    normalisation: Normalisation  # of texts before it
    metrics: dict[str, float]  # how far the graph is from the model it was made of
