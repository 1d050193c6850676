"""A scikit-learn pipeline as arrays that hold no code."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from broker.bag import Bag, BagSettings
from broker.errors import ObservaError
from broker.text import TOKENS, Normalisation
from trainer.onnx_model import Probabilities

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

VECTORISERS: Final = ("CountVectorizer", "TfidfVectorizer")
CLASSIFIERS: Final = ("LogisticRegression", "MultinomialNB")
COUNTED: Final = {(False, False): "count", (True, False): "binary", (False, True): "logarithm", (True, True): "binary"}


class NotABagError(ObservaError):
    """A pipeline does what the arrays cannot say."""


@dataclass(frozen=True)
class BagModel:
    """A pipeline's arrays, and how its texts are normalised."""

    settings: BagSettings
    terms: tuple[str, ...]
    weights: NDArray[np.float64]
    lowercase: bool

    @property
    def normalisation(self) -> Normalisation:
        """What the pipeline itself does to a text first."""
        return Normalisation(unicode_form=None, lowercase=self.lowercase, collapse_whitespace=False)

    def files(self) -> dict[str, bytes]:
        """Return what a version's folder holds of it."""
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(self.weights), allow_pickle=False)
        return {
            "bag.json": self.settings.model_dump_json(indent=2).encode() + b"\n",
            "terms.txt": "".join(f"{term}\n" for term in self.terms).encode(),
            "weights.npy": file.getvalue(),
        }


class BagClassifier:
    """The arrays, used as the worker uses them."""

    def __init__(self, model: BagModel) -> None:
        self._bag = Bag(model.settings, model.terms, model.weights)

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of words in each text."""
        return [len(self._bag.words(text)) for text in texts]

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Return the probability of each label, in the order of *texts*."""
        return self._bag.probabilities([self._bag.words(text) for text in texts])

    def vectors(self, texts: Sequence[str]) -> None:
        """Return nothing: a text's counts are too many to project."""


def bag_of(pipeline: "Pipeline") -> BagModel:
    """Return *pipeline*, fitted, as arrays.

    Raises:
        NotABagError: it is no vectoriser of words and linear classifier, or does what arrays cannot say.

    """
    steps = [step for _, step in getattr(pipeline, "steps", ())]
    names = [type(step).__name__ for step in steps]
    if len(steps) == 3 and names[:2] == ["CountVectorizer", "TfidfTransformer"]:  # noqa: PLR2004
        counting, weighing, classifier = steps
    elif len(steps) == 2 and names[0] in VECTORISERS:  # noqa: PLR2004
        counting, classifier = steps
        weighing = counting if names[0] == "TfidfVectorizer" else None
    else:
        held = f"a pipeline of {', '.join(names)}" if names else f"a {type(pipeline).__name__}, no pipeline"
        raise NotABagError(
            f"it holds {held}; what can be converted: {' or '.join(VECTORISERS)}, then {' or '.join(CLASSIFIERS)}, "
            "in one: sklearn.pipeline.make_pipeline(VECTORISER, CLASSIFIER)"
        )
    terms = tuple(str(term) for term in counting.get_feature_names_out())
    idf = weighing.idf_ if weighing is not None and weighing.use_idf else np.ones(len(terms))
    lines, intercepts = _lines(classifier)
    weights = np.vstack([np.column_stack([idf, lines.T]), np.concatenate([[0.0], intercepts])])
    return BagModel(_settings(counting, weighing), terms, weights.astype(np.float64), bool(counting.lowercase))


def _settings(counting: Any, weighing: Any) -> BagSettings:
    words = {found.pattern: name for name, found in TOKENS.items()} | {r"(?u)\b\w\w+\b": "two_or_more"}
    unsaid = {
        "analyzer": counting.analyzer != "word",
        "preprocessor": counting.preprocessor is not None,
        "tokenizer": counting.tokenizer is not None,
        "strip_accents": counting.strip_accents is not None,
        "token_pattern": counting.token_pattern not in words,
    }
    if found := [f"{name}={getattr(counting, name)!r}" for name, is_unsaid in unsaid.items() if is_unsaid]:
        raise NotABagError(f"{type(counting).__name__}({', '.join(found)}) cannot be said in arrays")
    shortest, longest = counting.ngram_range
    return BagSettings(
        words=words[counting.token_pattern],
        shortest=shortest,
        longest=longest,
        stop_words=tuple(sorted(counting.get_stop_words() or ())),
        counts=COUNTED[bool(counting.binary), bool(weighing is not None and weighing.sublinear_tf)],
        norm=(weighing.norm if weighing is not None else None) or "none",
    )


def _lines(classifier: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a line for each label [labels, terms] and their intercepts, whose softmax is the classifier's answer."""
    match type(classifier).__name__:
        case "LogisticRegression" if len(classifier.classes_) == 2:  # noqa: PLR2004 one line says both
            return np.vstack([0 * classifier.coef_, classifier.coef_]), np.append(0.0, classifier.intercept_)
        case "LogisticRegression" if classifier.solver != "liblinear":  # that one fits a model for each label
            return classifier.coef_, classifier.intercept_
        case "MultinomialNB":
            return classifier.feature_log_prob_, classifier.class_log_prior_
        case other:
            raise NotABagError(f"{other} is none of {', '.join(CLASSIFIERS)}, or gives no probabilities of that kind")
