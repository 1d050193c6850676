"""An exported graph, run as the worker runs it: the trainer's measurements are made through this."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from trainer.words import tokens_of

ROWS = 16  # texts in one call; more gain nothing and pad more
Probabilities = NDArray[np.float32]  # [texts, labels]


class Classifier(Protocol):
    """What can be measured: texts, already normalised, to probabilities."""

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Return the probability of each label, in the order of *texts*."""

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the model sees of each text."""


class TransformerGraph:
    """A graph from token ids to logits, and the tokenizer that belongs to it."""

    def __init__(self, graph: bytes, tokenizer: bytes, max_length: int) -> None:
        self._session = _session(graph)
        self._tokenizer = Tokenizer.from_buffer(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special ones included, cut to the maximum length."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of token ids of each text."""
        return [len(ids) for ids in self.encode(texts)]

    def logits(self, rows: Sequence[Sequence[int]], padding: int = 0) -> NDArray[np.float32]:
        """Return the logits of *rows* computed together, with *padding* more columns than the longest needs."""
        width = max(map(len, rows)) + padding
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros_like(ids)
        for position, row in enumerate(rows):
            ids[position, : len(row)] = row
            mask[position, : len(row)] = 1
        logits: NDArray[np.float32] = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        return logits

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Return the probability of each label, in the order of *texts*; texts of like length are computed together."""
        rows = self.encode(texts)
        order = sorted(range(len(rows)), key=lambda position: len(rows[position]))
        logits = np.concatenate([self.logits([rows[position] for position in part]) for part in _parts(order)])
        result = np.empty_like(logits)
        result[order] = logits
        return softmax(result)


class LinearGraph:
    """A graph from text to probabilities."""

    def __init__(self, graph: bytes) -> None:
        self._session = _session(graph)

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of words that the vectoriser sees in each text."""
        return [tokens_of(text) for text in texts]

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Return the probability of each label, in the order of *texts*."""
        column = np.array(texts, dtype=object)[:, None]
        probabilities: Probabilities = self._session.run(["probabilities"], {"text": column})[0]
        return probabilities


def softmax(logits: NDArray[np.float32]) -> Probabilities:
    """Return *logits* as probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Probabilities = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _parts(order: Sequence[int]) -> Iterable[Sequence[int]]:
    return (order[start : start + ROWS] for start in range(0, len(order), ROWS))
