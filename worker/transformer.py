"""Models of kind ``transformer``: an encoder with a classification head, as ONNX, and its tokenizer."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from broker.errors import ModelRefusedError
from broker.manifest import ModelManifest
from worker.chunks import chunks
from worker.models import Scores
from worker.onnx import open_session

INPUTS = {"input_ids", "attention_mask"}


class Transformer:
    """Token ids and attention mask, int64 [rows, longest], to logits, float32 [rows, labels]."""

    def __init__(self, manifest: ModelManifest, files: Mapping[str, bytes]) -> None:
        if missing := {"model.onnx", "tokenizer.json"} - files.keys():
            raise ModelRefusedError(f"model.json names no {' and no '.join(sorted(missing))}")
        self.manifest = manifest
        self._session = open_session(files["model.onnx"])
        if (found := {put.name for put in self._session.get_inputs()}) != INPUTS:
            raise ModelRefusedError(f"model.onnx reads {', '.join(sorted(found))}, not {', '.join(sorted(INPUTS))}")
        self._tokenizer: Tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(manifest.max_length)
        self._special = self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def predict(self, texts: Sequence[str]) -> list[Scores]:
        """Return the scores of *texts*.

        Raises:
            ValueError: a score is not a number.

        """
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        probabilities = np.empty((len(texts), len(self.manifest.labels)))
        for rows in chunks([len(encoding.ids) for encoding in encodings]):
            probabilities[rows] = softmax(self._logits([encodings[row].ids for row in rows]))
        return [
            Scores(tuple(row), self._length(encoding), truncated=bool(encoding.overflowing))
            for row, encoding in zip(probabilities.tolist(), encodings, strict=True)
        ]

    def _logits(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for position, row in enumerate(rows):
            ids[position, : len(row)] = row
            mask[position, : len(row)] = 1
        (logits,) = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
        return np.asarray(logits, np.float64)

    def _length(self, encoding: Encoding) -> int:
        return len(encoding.ids) + sum(len(rest.ids) - self._special for rest in encoding.overflowing)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of *logits* [rows, labels].

    Raises:
        ValueError: a logit is not a finite number.

    """
    if not np.isfinite(logits).all():
        raise ValueError("the model's output is not a number")
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
