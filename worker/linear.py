"""Models of kind ``linear``: a bag of words and a linear classifier in one ONNX graph, from text to probabilities."""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

import numpy as np

from broker.errors import ModelRefusedError
from broker.manifest import ModelManifest
from worker.models import Scores
from worker.onnx import open_session

# What the graph's own tokenizer splits by. The reference profile counts by it, too.
TOKEN: Final = re.compile("[a-zA-Z0-9]+")


class Linear:
    """Strings [rows, 1] in ``text`` to ``probabilities``, float32 [rows, labels]; its tokens are words."""

    def __init__(self, manifest: ModelManifest, files: Mapping[str, bytes]) -> None:
        if "model.onnx" not in files:
            raise ModelRefusedError("model.json names no model.onnx")
        self.manifest = manifest
        self._session = open_session(files["model.onnx"])
        if (found := sorted(put.name for put in self._session.get_inputs())) != ["text"]:
            raise ModelRefusedError(f"model.onnx reads {', '.join(found)}, not text")

    def predict(self, texts: Sequence[str]) -> list[Scores]:
        """Return the scores of *texts*.

        Raises:
            ValueError: a score is not a number.

        """
        cut = [_cut(text, self.manifest.max_length) for text in texts]
        rows = np.array([[text] for text, _ in cut], dtype=object)
        (probabilities,) = self._session.run(["probabilities"], {"text": rows})
        scores = np.asarray(probabilities, np.float64)
        if not np.isfinite(scores).all():
            raise ValueError("the model's output is not a number")
        return [
            Scores(tuple(row), words, truncated=words > self.manifest.max_length)
            for row, (_, words) in zip(scores.tolist(), cut, strict=True)
        ]


def _cut(text: str, most_words: int) -> tuple[str, int]:
    """Return *text* up to the end of the last word that is read, and the number of words it had."""
    words = sum(1 for _ in TOKEN.finditer(text))
    if words <= most_words:
        return text, words
    last = next(islice(TOKEN.finditer(text), most_words - 1, None))
    return text[: last.end()], words
