"""Logistic regression over TF-IDF: the small model, and its arrays.

Arrays are served rather than the pipeline they came from because one text takes them 44 microseconds against 1508 (one
thread; scikit-learn spends the rest on preparing a batch of one), and because they hold no pickled code.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from broker.text import TOKENS, normalise
from trainer.bag import BagClassifier, bag_of
from trainer.calibrate import temperature
from trainer.candidate import Candidate
from trainer.evaluation import agreement, label_ids
from trainer.params import LinearParams
from trainer.splits import Example, Splits, normalised
from trainer.verify import require

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FITTED = "pipeline.skops"  # arrays and names of classes; it runs no code of its own when it is read


def fit(splits: Splits, params: LinearParams) -> tuple["Pipeline", dict[str, float]]:
    """Fit on the training texts and return the pipeline with what calibration on the validation texts found.

    Lower case is made outside the model, as every other normalisation is.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 only those who train have it
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415

    train, valid, _ = normalised(splits, params.normalisation)
    pipeline = make_pipeline(
        TfidfVectorizer(
            lowercase=False,
            token_pattern=TOKENS["ascii"].pattern,
            ngram_range=(1, params.longest_ngram),
            min_df=params.least_texts,
        ),
        LogisticRegression(
            C=params.inverse_regularisation,
            max_iter=1000,
            random_state=params.seed,
            class_weight=params.class_weights,
        ),
    )
    pipeline.fit([example.text for example in train], [example.label for example in train])
    return pipeline, _calibrated(pipeline, valid) if params.calibration else {}


def save(pipeline: "Pipeline", folder: Path) -> None:
    """Write *pipeline* into *folder*."""
    import skops.io  # noqa: PLC0415 only those who train have it

    folder.mkdir(parents=True, exist_ok=True)
    skops.io.dump(pipeline, folder / FITTED)


def export(folder: Path, test: Sequence[Example], params: LinearParams) -> Candidate:
    """Return the arrays of the pipeline in *folder*, measured on *test*.

    Raises:
        NotGoodEnoughError: the arrays answer any test text otherwise than the pipeline they were made of.

    """
    import skops.io  # noqa: PLC0415 only those who train have it

    return candidate_of(skops.io.load(folder / FITTED), test, params)


def candidate_of(pipeline: "Pipeline", test: Sequence[Example], params: LinearParams) -> Candidate:
    """Return the arrays of *pipeline*, measured on *test*.

    Raises:
        NotGoodEnoughError: the arrays answer any test text otherwise than the pipeline they were made of.

    """
    model = bag_of(pipeline)
    classifier = BagClassifier(model)
    texts = [normalise(example.text, params.normalisation) for example in test]
    expected, served = pipeline.predict_proba(texts), classifier.probabilities(texts)
    metrics = {
        "agreement_native": agreement(expected, served),
        "probability_difference_native": float(np.abs(expected - served).max()),
    }
    require("agreement of the arrays with scikit-learn", metrics["agreement_native"], 1.0)
    return Candidate(model.files(), classifier, params.normalisation, metrics)


def _calibrated(pipeline: "Pipeline", valid: Sequence[Example]) -> dict[str, float]:
    """Divide the coefficients by the temperature that validation asks for."""
    scores = pipeline.decision_function([example.text for example in valid])
    logits = np.column_stack([np.zeros_like(scores), scores]) if scores.ndim == 1 else scores
    found = temperature(logits, label_ids([example.label for example in valid]))
    classifier = pipeline.steps[-1][1]
    classifier.coef_ /= found
    classifier.intercept_ /= found
    return {"temperature": found}
