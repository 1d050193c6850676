"""Logistic regression over TF-IDF: the small model, and its ONNX graph.

The graph is served rather than the pipeline it came from because one text takes it 157 microseconds against 1508
(one thread; scikit-learn spends the rest on preparing a batch of one), and because it holds no pickled code.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from broker.text import Normalisation
from trainer.candidate import Candidate
from trainer.evaluation import agreement
from trainer.onnx_model import LinearGraph
from trainer.params import LinearParams
from trainer.splits import Example, Splits, normalised
from trainer.verify import require
from trainer.words import TOKEN_PATTERN

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

OPSET = {"": 18, "ai.onnx.ml": 3}


NORMALISATION = Normalisation(lowercase=True)


def make(params: LinearParams, splits: Splits) -> Candidate:
    """Fit on the training texts and make the graph.

    Raises:
        NotGoodEnoughError: the graph answers any test text otherwise than the pipeline it was made of.

    """
    lowered = normalised(splits, NORMALISATION)
    pipeline = fit(lowered.train, params)
    graph = to_onnx(pipeline)
    classifier = LinearGraph(graph)
    texts = [example.text for example in lowered.test]
    expected, served = pipeline.predict_proba(texts), classifier.probabilities(texts)
    metrics = {
        "agreement_native": agreement(expected, served),
        "probability_difference_native": float(np.abs(expected - served).max()),
    }
    require("agreement of the graph with scikit-learn", metrics["agreement_native"], 1.0)
    return Candidate({"model.onnx": graph}, classifier, NORMALISATION, metrics)


def fit(examples: Sequence[Example], params: LinearParams) -> "Pipeline":
    """Fit on texts that are already in lower case.

    Lower case is made outside the model: in the graph it would need a locale that small containers lack.
    ``sublinear_tf`` stays off because its ONNX form gives other probabilities.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 only those who train have it
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415

    pipeline = make_pipeline(
        TfidfVectorizer(
            lowercase=False,
            token_pattern=TOKEN_PATTERN,
            ngram_range=(1, params.longest_ngram),
            min_df=params.least_texts,
        ),
        LogisticRegression(C=params.inverse_regularisation, max_iter=1000, random_state=params.seed),
    )
    pipeline.fit([example.text for example in examples], [example.label for example in examples])
    return pipeline


def to_onnx(pipeline: "Pipeline") -> bytes:
    """Return the graph of *pipeline*.

    Input ``text``: string [N, 1]. Outputs ``label``: int64 [N], ``probabilities``: float32 [N, labels].
    """
    from skl2onnx import convert_sklearn  # noqa: PLC0415 only those who train have it
    from skl2onnx.common.data_types import StringTensorType  # noqa: PLC0415

    vectoriser, classifier = (step for _, step in pipeline.steps)
    graph = convert_sklearn(
        pipeline,
        name="sentiment-linear",
        initial_types=[("text", StringTensorType([None, 1]))],
        options={id(vectoriser): {"tokenexp": TOKEN_PATTERN}, id(classifier): {"zipmap": False}},
        target_opset=OPSET,
    )
    content: bytes = graph.SerializeToString()
    return content
