"""``python -m trainer.unpickle``: a scikit-learn pickle as arrays. A pickle is a program: this runs it.

Started through `unpickled` by ``import-model --trust-pickle`` alone; nothing else reads pickles.
"""

import bz2
import gzip
import io
import lzma
import re
import warnings
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ValidationError

from broker.bag import Bag, BagSettings
from broker.errors import ModelRefusedError
from trainer import apart
from trainer.bag import bag_of
from trainer.evaluation import alike
from trainer.opened import content

SECONDS: Final = 600.0  # by the clock
MOST: Final = 2 << 30  # bytes of one of its files
CLOSE: Final = 1e-9  # most that arrays may differ from the pipeline they were taken from
FILES: Final = ("bag.json", "terms.txt", "weights.npy")
WROTE: Final = re.compile(rb"_sklearn_version.{1,16}?(\d+\.\d+(?:\.\w+)*)", re.DOTALL)  # as each estimator says it
COMPRESSED: Final = {b"\x1f\x8b": gzip, b"x": zlib, b"BZ": bz2, b"\xfd7zXZ": lzma, b"]\0": lzma}


class Found(BaseModel):
    """What is said of a pipeline beside its arrays."""

    labels: tuple[str, ...]
    lowercase: bool
    metrics: dict[str, float]


def unpickled(path: Path) -> tuple[dict[str, bytes], Found]:
    """Let a process of its own turn the pickle at *path* into the files of a version, and say what else was found.

    Raises:
        ModelRefusedError: it holds no pipeline that arrays can say, another scikit-learn wrote it, the arrays answer
            otherwise, or the process ended without its work.

    """
    with apart.work("trainer.unpickle", path, {}, SECONDS) as made:
        try:
            files = {name: content(made, name, MOST) for name in FILES}
            found = Found.model_validate_json(content(made, "found.json", MOST))
            weights = np.load(io.BytesIO(files["weights.npy"]), allow_pickle=False)
            terms = files["terms.txt"].decode().removesuffix("\n").split("\n")
            bag = Bag(BagSettings.model_validate_json(files["bag.json"]), terms, weights)
        except (ModelRefusedError, ValidationError, ValueError) as error:
            raise ModelRefusedError(f"{path}: the process that read it ended without its work") from error
    if len(bag.intercepts) != len(found.labels) or not np.isfinite(weights).all():
        raise ModelRefusedError(f"{path}: its weights are not finite numbers, one line of them a label")
    if not found.metrics.get("probability_difference_source", 1.0) <= CLOSE:
        raise ModelRefusedError(f"{path}: arrays differ from the pipeline by more than {CLOSE} in a probability")
    return files, found


def perform(source: Path, made: Path, _: dict[str, Any]) -> None:
    """Write the arrays into *made*, with the labels and how far the arrays are from the pipeline."""
    pipeline = _loaded(source)
    model = bag_of(pipeline)
    for name, written in model.files().items():
        (made / name).write_bytes(written)
    labels = tuple(str(label) for label in pipeline.classes_)
    found = Found(labels=labels, lowercase=model.lowercase, metrics=_difference(pipeline, model))
    (made / "found.json").write_text(found.model_dump_json(), encoding="utf-8")


def _loaded(source: Path) -> Any:
    """Return what the pickle holds, if this very scikit-learn wrote it: another one reads other answers into it."""
    import joblib  # noqa: PLC0415 with scikit-learn, only where a pickle is read
    import sklearn  # noqa: PLC0415
    from sklearn.exceptions import InconsistentVersionWarning  # noqa: PLC0415

    here = sklearn.__version__
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            return joblib.load(source)
    except InconsistentVersionWarning as error:
        raise _foreign(error.original_sklearn_version, here) from error
    except Exception as error:
        if (version := _wrote(source)) not in {None, here}:
            raise _foreign(str(version), here) from error
        raise


def _wrote(source: Path) -> str | None:
    """Return the version of scikit-learn that the pickle names, without running it."""
    whole = source.read_bytes()
    packed = next((module for start, module in COMPRESSED.items() if whole.startswith(start)), None)
    found = WROTE.search(packed.decompress(whole) if packed else whole)
    return found[1].decode() if found else None


def _foreign(version: str, here: str) -> ModelRefusedError:
    return ModelRefusedError(
        f"scikit-learn {version} wrote it, and {here}, which is here, may answer otherwise with it; where the pipeline "
        f"was made: pip install scikit-learn=={here}, fit it again, dump it again"
    )


def _difference(pipeline: Any, model: Any) -> dict[str, float]:
    """Return the largest difference of a probability on texts of the pipeline's own words, and the agreement."""
    draw = np.random.default_rng(0)
    texts = ["", *(" ".join(draw.choice(model.terms, draw.integers(1, 40))) for _ in range(199))]
    bag = Bag(model.settings, model.terms, model.weights)
    expected = pipeline.predict_proba(texts)
    found = bag.probabilities([bag.words(text.lower() if model.lowercase else text) for text in texts])
    return alike(expected, found, CLOSE).metrics()


if __name__ == "__main__":
    apart.perform(perform)
