"""Models of kind ``linear``: a bag of words and a linear classifier, as plain arrays or as an ONNX graph."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from broker.bag import Bag, BagSettings
from broker.errors import ModelRefusedError
from broker.manifest import ModelManifest
from broker.text import TOKENS
from worker.arrays import read_array
from worker.models import Model, Scores
from worker.onnx import open_session

# What a graph's own tokenizer splits by. The reference profile counts by it, too.
TOKEN: Final = TOKENS["ascii"]
FILES: Final = {"bag.json", "terms.txt", "weights.npy"}


def load(manifest: ModelManifest, files: Mapping[str, bytes]) -> Model:
    """Return the model of a folder that holds arrays or, as folders once did, a graph.

    Raises:
        ModelRefusedError: it holds neither, or they are not what they should be.

    """
    return LinearBag(manifest, files) if FILES & files.keys() else Linear(manifest, files)


class LinearBag:
    """Arrays: words are found and weighed here, without a graph."""

    def __init__(self, manifest: ModelManifest, files: Mapping[str, bytes]) -> None:
        self.manifest = manifest
        self.bag = read_bag(files)

    def predict(self, texts: Sequence[str]) -> list[Scores]:
        """Return the scores of *texts*; a text's tokens are its words.

        Raises:
            ValueError: a score is not a number.

        """
        most = self.manifest.max_length
        words = [self.bag.words(text) for text in texts]
        found = _numbers(self.bag.probabilities([each[:most] for each in words]))
        return [
            Scores(tuple(row), len(each), truncated=len(each) > most)
            for row, each in zip(found.tolist(), words, strict=True)
        ]


class Linear:
    """Strings [rows, 1] in ``text`` to ``probabilities``, float32 [rows, labels]; its tokens are words."""

    def __init__(self, manifest: ModelManifest, files: Mapping[str, bytes]) -> None:
        if "model.onnx" not in files:
            raise ModelRefusedError(f"model.json names no {' and no '.join(sorted(FILES))}")
        self.manifest = manifest
        self._session = open_session(files["model.onnx"])
        if (found := sorted(put.name for put in self._session.get_inputs())) != ["text"]:
            raise ModelRefusedError(f"model.onnx reads {', '.join(found)}, not text")

    def predict(self, texts: Sequence[str]) -> list[Scores]:
        """Return the scores of *texts*.

        Raises:
            ValueError: a score is not a number.

        """
        cut = [cut_to(text, self.manifest.max_length) for text in texts]
        rows = np.array([[text] for text, _ in cut], dtype=object)
        (probabilities,) = self._session.run(["probabilities"], {"text": rows})
        return [
            Scores(tuple(row), words, truncated=words > self.manifest.max_length)
            for row, (_, words) in zip(_numbers(np.asarray(probabilities, np.float64)).tolist(), cut, strict=True)
        ]


def read_bag(files: Mapping[str, bytes]) -> Bag:
    """Return the bag of words that *files* describe.

    Raises:
        ModelRefusedError: a file is missing, or they do not belong together.

    """
    if missing := FILES - files.keys():
        raise ModelRefusedError(f"model.json names no {' and no '.join(sorted(missing))}")
    weights = read_array(files["weights.npy"], "weights.npy", 2)
    try:
        settings = BagSettings.model_validate_json(files["bag.json"])
        return Bag(settings, files["terms.txt"].decode().removesuffix("\n").split("\n"), weights)
    except ValidationError as error:
        raise ModelRefusedError(f"bag.json cannot be read: {error.errors()[0]['msg']}") from error
    except ValueError as error:
        raise ModelRefusedError(f"terms.txt and weights.npy: {error}") from error


def cut_to(text: str, most_words: int) -> tuple[str, int]:
    """Return *text* up to the end of the last word that is read, and the number of words it had."""
    words = sum(1 for _ in TOKEN.finditer(text))
    if words <= most_words:
        return text, words
    last = next(islice(TOKEN.finditer(text), most_words - 1, None))
    return text[: last.end()], words


def _numbers(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(probabilities).all():
        raise ValueError("the model's output is not a number")
    return probabilities
