"""An exported graph, run as the worker runs it: the trainer's measurements are made through this."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

ROWS = 16  # texts in one call; more gain nothing and pad more
POOLED = "pooled"  # the output that the monitor's coordinates are made of
Probabilities = NDArray[np.float32] | NDArray[np.float64]  # [texts, labels]


class Classifier(Protocol):
    """What can be measured: texts, already normalised, to probabilities."""

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Return the probability of each label, in the order of *texts*."""

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the model sees of each text."""

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32] | None:
        """Return the vector that the model makes of each text [texts, width]; None if it makes none."""


class TransformerGraph:
    """A graph from token ids to logits, and the tokenizer that belongs to it."""

    def __init__(self, graph: bytes, tokenizer: bytes, max_length: int) -> None:
        self._session = _session(graph)
        self._tokenizer = Tokenizer.from_buffer(tokenizer)
        self._tokenizer.no_padding()
        cut = self._tokenizer.truncation or {}  # of what its own file says of it, the side alone counts here
        self._tokenizer.enable_truncation(max_length, direction=cut.get("direction", "right"))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special ones included, cut to the maximum length."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of token ids of each text."""
        return [len(ids) for ids in self.encode(texts)]

    def logits(self, rows: Sequence[Sequence[int]], padding: int = 0) -> NDArray[np.float32]:
        """Return the logits of *rows* computed together, with *padding* more columns than the longest needs."""
        return self._run("logits", rows, padding)

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Return the probability of each label, in the order of *texts*; texts of like length are computed together."""
        return softmax(self._of("logits", texts))

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32] | None:
        """Return the pooled output for each text; None if the graph has none."""
        if POOLED not in {output.name for output in self._session.get_outputs()}:
            return None
        return self._of(POOLED, texts)

    def _of(self, output: str, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = self.encode(texts)
        order = sorted(range(len(rows)), key=lambda position: len(rows[position]))
        found = np.concatenate([self._run(output, [rows[position] for position in part]) for part in _parts(order)])
        result = np.empty_like(found)
        result[order] = found
        return result

    def _run(self, output: str, rows: Sequence[Sequence[int]], padding: int = 0) -> NDArray[np.float32]:
        width = max(map(len, rows)) + padding
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros_like(ids)
        for position, row in enumerate(rows):
            ids[position, : len(row)] = row
            mask[position, : len(row)] = 1
        found: NDArray[np.float32] = self._session.run([output], {"input_ids": ids, "attention_mask": mask})[0]
        return found


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
