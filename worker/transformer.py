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
from worker.projection import Projection

INPUTS = {"input_ids", "attention_mask"}
POOLED = "pooled"


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
        cut = self._tokenizer.truncation or {}  # of what its own file says of it, the side alone counts here
        self._tokenizer.enable_truncation(manifest.max_length, direction=cut.get("direction", "right"))
        self._special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._projection = Projection.of(files)
        if self._projection:
            self._require_pooled(self._projection.width)
        self._require_room()

    def predict(self, texts: Sequence[str]) -> list[Scores]:
        """Return the scores of *texts*.

        Raises:
            ValueError: a score is not a number.

        """
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return self._scores(encodings, chunks([len(encoding.ids) for encoding in encodings]), 0)

    def padded(self, texts: Sequence[str], columns: int) -> list[Scores]:
        """Return the scores of *texts* computed together, with *columns* of padding more than the longest needs.

        Never more than `max_length` in all: beyond that a model may have no positions.

        Raises:
            ValueError: a score is not a number.

        """
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        room = self.manifest.max_length - max(len(encoding.ids) for encoding in encodings)
        return self._scores(encodings, [list(range(len(texts)))], min(columns, room))

    def _scores(self, encodings: Sequence[Encoding], parts: Sequence[list[int]], padding: int) -> list[Scores]:
        probabilities = np.empty((len(encodings), len(self.manifest.labels)))
        embeddings: list[tuple[float, ...] | None] = [None] * len(encodings)
        for rows in parts:
            logits, *pooled = self._run([encodings[row].ids for row in rows], padding)
            probabilities[rows] = softmax(logits)
            if self._projection:
                for row, found in zip(rows, self._projection.coordinates(pooled[0]).tolist(), strict=True):
                    embeddings[row] = tuple(found)
        return [
            Scores(tuple(row), self._length(encoding), bool(encoding.overflowing), embedding)
            for row, encoding, embedding in zip(probabilities.tolist(), encodings, embeddings, strict=True)
        ]

    def _run(self, rows: Sequence[Sequence[int]], padding: int = 0) -> list[NDArray[np.float64]]:
        """Return the logits [rows, labels] and, where there is a projection for it, the pooled output [rows, width]."""
        ids = np.zeros((len(rows), max(map(len, rows)) + padding), np.int64)
        mask = np.zeros_like(ids)
        for position, row in enumerate(rows):
            ids[position, : len(row)] = row
            mask[position, : len(row)] = 1
        wanted = ["logits", POOLED] if self._projection else ["logits"]
        found = self._session.run(wanted, {"input_ids": ids, "attention_mask": mask})
        return [np.asarray(each, np.float64) for each in found]

    def _require_pooled(self, width: int) -> None:
        shapes = {put.name: put.shape for put in self._session.get_outputs()}
        if POOLED not in shapes:
            raise ModelRefusedError(f"model.onnx has no output {POOLED} for the projection that lies beside it")
        (pooled,) = self._session.run([POOLED], {name: np.ones((1, 1), np.int64) for name in sorted(INPUTS)})
        if pooled.shape != (1, width):
            raise ModelRefusedError(f"model.onnx pools to {pooled.shape}, the projection is of (1, {width})")

    def _require_room(self) -> None:
        """Try the tokenizer's last token, and as many tokens as may be read at once."""
        last, most = max(self._tokenizer.get_vocab().values(), default=0), self.manifest.max_length
        for ids, what in (([last], f"token {last} of tokenizer.json"), ([0] * most, f"{most} tokens, its max_length")):
            try:
                self._run([ids])
            except Exception as error:
                raise ModelRefusedError(f"model.onnx cannot read {what}") from error

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
