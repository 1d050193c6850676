"""Which words made an answer, of any model that gives probabilities: parts are hidden, and it is asked again.

The scale is the log-odds of the explained label, where effects add up and a sure answer does not hide the second word
that would have been enough.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import shap
from numpy.typing import NDArray

from worker.models import Model

# A word with its inner apostrophes, one sign of a script that writes no spaces, or a run of other signs.
WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\w+(?:['\u2019]\w+)*|[^\w\s]+")
HIDDEN: Final = "..."  # stands for words that are hidden
MOST_PARTS: Final = 200  # beyond it neighbours share a weight
BATCH: Final = 16  # texts asked about at once
SUREST: Final = 1e-9  # a probability of 0 has no log-odds

Tick = Callable[[float], None]  # told how far the work is, from 0 to 1


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each part of a text adds to the log-odds of one label; joined, the parts are the normalised text."""

    parts: tuple[str, ...]
    weights: tuple[float, ...]
    baseline: float  # log-odds with every part hidden; the weights add up to score - baseline
    score: float  # log-odds of the text
    method: str
    evaluations: int
    truncated: bool  # the model reads only a beginning of the text; the rest weighs nothing


def log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of *probability* against its complement."""
    bounded = np.clip(probability, SUREST, 1 - SUREST)
    return np.asarray(np.log(bounded / (1 - bounded)))


def attribute(model: Model, text: str, label_id: int, most: int, tick: Tick) -> Attribution:
    """Explain *label_id* for the normalised *text* with about *most* questions to *model*.

    The values are Owen values over a tree of neighbouring words, so they add up exactly; what remains is rounding.
    """
    asking = _Asking(model, label_id, most, tick)
    read, rest = _read_by(model, text)
    score = float(asking([text])[0])
    parts = _merged(split(read))
    if len(parts) < 2:  # noqa: PLR2004 - there is no tree of one
        baseline = float(asking([HIDDEN])[0])
        weights: Sequence[float] = [score - baseline] * len(parts)
    else:
        weights, baseline = _owen_values(asking, parts, most)
    return Attribution(
        parts=(*parts, *([rest] if rest else [])),
        weights=(*weights, *([0.0] if rest else [])),
        baseline=baseline,
        score=score,
        method="partition",
        evaluations=asking.asked,
        truncated=bool(rest),
    )


def split(text: str) -> list[str]:
    """Return the words of *text*, each with what follows it up to the next; joined they are *text*."""
    starts = [0, *(found.start() for found in list(WORD.finditer(text))[1:])]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _merged(parts: list[str]) -> list[str]:
    each = -(-len(parts) // MOST_PARTS)
    return ["".join(parts[start : start + each]) for start in range(0, len(parts), each)] if each > 1 else parts


def _read_by(model: Model, text: str) -> tuple[str, str]:
    """Split *text* where the model stops reading: else, as words are hidden, others would move into its sight."""
    if not model.predict([text])[0].truncated:
        return text, ""
    parts = split(text)
    least, most = 0, len(parts)
    while least < most:
        middle = (least + most + 1) // 2
        if model.predict(["".join(parts[:middle])])[0].truncated:
            most = middle - 1
        else:
            least = middle
    read = "".join(parts[:least])
    return read, text[len(read) :]


def _owen_values(asking: "_Asking", parts: list[str], most: int) -> tuple[list[float], float]:
    text = "".join(parts)
    offsets = np.cumsum([0, *map(len, parts)]).tolist()

    def tokenizer(found: str, *, return_offsets_mapping: bool = True) -> dict[str, Any]:
        del return_offsets_mapping  # they are always given
        if found != text:  # the masker looks at nothing, and at what hides a word
            return {"input_ids": [found] * bool(found), "offset_mapping": [(0, len(found))] * bool(found)}
        return {"input_ids": parts, "offset_mapping": list(pairwise(offsets))}

    explain = shap.explainers.Partition(asking, shap.maskers.Text(tokenizer, mask_token=HIDDEN))
    found = explain([text], max_evals=most, batch_size=BATCH, silent=True)
    return np.asarray(found.values[0], np.float64).tolist(), float(found.base_values[0])


class _Asking:
    """The model as a function from texts to log-odds of one label; counts what it is asked."""

    def __init__(self, model: Model, label_id: int, most: int, tick: Tick) -> None:
        self.asked = 0
        self._model = model
        self._label_id = label_id
        self._most = most
        self._tick = tick

    def __call__(self, texts: Sequence[Any]) -> NDArray[np.float64]:
        """Return the log-odds of each text."""
        scores = self._model.predict([str(text) for text in texts])
        self.asked += len(scores)
        self._tick(min(self.asked / self._most, 0.99))
        return log_odds(np.array([one.probabilities[self._label_id] for one in scores]))
