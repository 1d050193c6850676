"""Which words made an answer of a linear model: its own coefficients say so, exactly, without asking it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from broker.bag import BagSettings
from worker.explaining.attribution import Attribution
from worker.linear import TOKEN, cut_to, read_bag

GRAPH: Final = ["Tokenizer", "Flatten", "TfIdfVectorizer", "Mul", "Normalizer", "LinearClassifier"]


@dataclass(frozen=True, slots=True)
class Coefficients:
    """A bag of words and pairs of words, each weighted, and a line through them."""

    columns: Mapping[tuple[str, ...], int]
    weights: NDArray[np.float64]  # of each column, before the row is brought to length one
    lines: NDArray[np.float64]  # [labels, columns]
    intercepts: NDArray[np.float64]  # [labels]

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> "Coefficients | None":
        """Read a linear version's files; None for one that is made otherwise than the trainer makes it."""
        if "weights.npy" not in files:
            return cls.read(files["model.onnx"])
        bag = read_bag(files)
        if bag.settings != BagSettings(longest=2) or bag.lines.shape[1] != 2:  # noqa: PLR2004 two labels: one's odds
            return None
        odds, intercept = bag.lines[:-1, 1] - bag.lines[:-1, 0], bag.intercepts[1] - bag.intercepts[0]
        return cls(
            columns={tuple(term.split(" ")): column for term, column in bag.columns.items()},
            weights=bag.own[:-1],
            lines=np.stack([-odds, odds]),
            intercepts=np.array([-intercept, intercept]),
        )

    @classmethod
    def read(cls, content: bytes) -> "Coefficients | None":
        """Read the graph in *content*; None for one that is made otherwise than the trainer makes it."""
        graph = onnx.load_from_string(content).graph
        if [node.op_type for node in graph.node] != GRAPH:
            return None
        of = {
            node.op_type: {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            for node in graph.node
        }
        bag, line = of["TfIdfVectorizer"], of["LinearClassifier"]
        labels = len(line["intercepts"])
        if of["Normalizer"].get("norm") != b"L2" or line["post_transform"] != b"LOGISTIC" or labels != 2:  # noqa: PLR2004
            return None
        (scale,) = (onnx.numpy_helper.to_array(one) for one in graph.initializer)
        return cls(
            columns=_columns(bag),
            weights=np.asarray(scale, np.float64).ravel(),
            lines=np.asarray(line["coefficients"], np.float64).reshape(labels, -1),
            intercepts=np.asarray(line["intercepts"], np.float64),
        )

    def attribute(self, text: str, label_id: int, most_words: int) -> Attribution:
        """Explain *label_id* for the normalised *text*: a pair's weight is shared by its words.

        The weights are those of the answer: that fewer words would count more each is part of the model, not of them.
        """
        read, _ = cut_to(text, most_words)
        found = list(TOKEN.finditer(read))
        words = [one.group() for one in found]
        hits = [
            (start, size, self.columns[gram])
            for size in (1, 2)
            for start in range(len(words) - size + 1)
            if (gram := tuple(words[start : start + size])) in self.columns
        ]
        row: dict[int, float] = {}
        for _, _, column in hits:
            row[column] = row.get(column, 0.0) + float(self.weights[column])
        length = float(np.sqrt(sum(value * value for value in row.values()))) or 1.0
        weights = [0.0] * len(words)
        for start, size, column in hits:
            share = float(self.weights[column] * self.lines[label_id, column]) / length / size
            for word in range(start, start + size):
                weights[word] += share
        baseline = float(self.intercepts[label_id])
        return Attribution(
            parts=_parts(text, [one.start() for one in found]),
            weights=tuple(weights) if words else (0.0,),
            baseline=baseline,
            score=baseline + sum(weights),
            method="coefficients",
            evaluations=0,
            truncated=len(read) < len(text),
        )


def _columns(bag: Mapping[str, Any]) -> dict[tuple[str, ...], int]:
    pool = [word.decode() for word in bag["pool_strings"]]
    starts = [*bag["ngram_counts"], len(pool)]
    grams: list[tuple[str, ...]] = []
    for size, (start, end) in enumerate(pairwise(starts), 1):
        grams += [tuple(pool[at : at + size]) for at in range(start, end, size)]
    return dict(zip(grams, bag["ngram_indexes"], strict=True))


def _parts(text: str, starts: Sequence[int]) -> tuple[str, ...]:
    """Return *text* in parts, each a word with what follows it; what comes before the first belongs to it."""
    begins = [0, *starts[1:]]
    return tuple(text[start:end] for start, end in zip(begins, [*begins[1:], len(text)], strict=True))
