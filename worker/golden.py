"""The golden texts of a version: it must still say what it said when it was made, or it does not serve."""

from collections.abc import Mapping
from typing import Final

from broker.errors import ModelRefusedError
from broker.manifest import Golden, parsed
from broker.text import normalise
from worker.models import Model

FILE: Final = "golden.json"


def check_golden(model: Model, files: Mapping[str, bytes]) -> None:
    """Ask *model* its golden texts, if its folder has any.

    Raises:
        ModelRefusedError: it gives another answer to one of them; the message names the text by its position only.

    """
    if FILE not in files:
        return
    golden = parsed(files[FILE], Golden, FILE)
    labels = model.manifest.labels
    found = model.predict([normalise(one.text, model.manifest.normalisation) for one in golden.texts])
    for position, (one, scores) in enumerate(zip(golden.texts, found, strict=True)):
        if len(one.probabilities) != len(scores.probabilities):
            raise ModelRefusedError(f"{FILE}: text {position} has scores of other labels")
        was, now = _label(one.probabilities), _label(scores.probabilities)
        if was != now or _distance(one.probabilities, scores.probabilities) > golden.tolerance:
            raise ModelRefusedError(
                f"{FILE}: text {position} is {labels[now]} ({scores.probabilities[now]:.3f}), and was "
                f"{labels[was]} ({one.probabilities[was]:.3f}) when the version was made"
            )


def _label(probabilities: tuple[float, ...]) -> int:
    return max(range(len(probabilities)), key=probabilities.__getitem__)


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
