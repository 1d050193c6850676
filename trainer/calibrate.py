"""One temperature for a model's scores, fitted on validation texts: probabilities that mean what they say."""

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import Labels

COLDEST, HOTTEST = 0.2, 10.0
BINS = 10

Logits = NDArray[np.float64]  # [texts, labels]


def temperature(logits: Logits, truth: Labels) -> float:
    """Return the number by which to divide *logits* for the lowest cross-entropy with *truth*, from 0.2 to 10.

    No answer changes by it: every logit is divided alike.
    """
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 only those who train have it

    def loss(log_temperature: float) -> float:
        return cross_entropy(logits / np.exp(log_temperature), truth)

    bounds = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-5}).x))


def cross_entropy(logits: Logits, truth: Labels) -> float:
    """Return the mean of -ln of the probability of the true label."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    named = shifted[np.arange(len(truth)), truth] - np.log(np.exp(shifted).sum(axis=1))
    return float(-named.mean())


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return how far confidence is from the share of right answers, on average over ten groups of equal number."""
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(BINS, len(confidence)))
    gaps = [abs(confidence[part].mean() - right[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(confidence))
