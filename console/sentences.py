"""What the services say in codes, in sentences for the person at the page."""

from collections.abc import Mapping
from typing import Any, Final

PROBLEMS: Final = {
    "blank_text": "There is nothing to read in this text.",
    "too_long": "This text is too long; at most 10 000 characters are read.",
    "control_char": "This text has a NUL character, which is not accepted.",
    "invalid_unicode": "This text has half a character (a lone surrogate), which is not accepted.",
    "body_too_large": "This is too much at once; send less.",
    "model_not_found": "No worker has ever announced this model.",
    "model_unavailable": "No worker serves this model now.",
    "version_not_loaded": "No worker has this version loaded.",
    "version_unavailable": "This version is no longer loaded.",
    "overloaded": "There is more to do than can be done in time; try again in a few seconds.",
    "broker_unavailable": "The gateway runs, but it cannot reach the log.",
    "deadline_exceeded": "The answer did not come in time.",
    "inference_failed": "The model failed on this text; it lies among the dead letters.",
    "explanation_failed": "The explanation of this text failed.",
    "explainer_unavailable": "No explainer runs now; `just up` starts one.",
    "text_not_kept": "The text of this prediction is no longer on the log.",
    "expired": "This prediction is older than predictions are kept.",
    "not_found": "The gateway knows nothing of this.",
    "bad_label": "The model has no such label.",
    "unauthorized": "The gateway asks for an API key that it knows; check OBSERVA_CONSOLE_KEY_FILE.",
    "forbidden": "The console's API key does not allow that; set OBSERVA_CONSOLE_ADMIN_KEY_FILE.",
    "occupied": "The monitor compares too many versions at once; try again in some seconds.",
    "rate_limited": "That was too much in one second; try again.",
    "bad_host": "The gateway does not answer to the name by which the console calls it.",
}

FEATURES: Final = {
    "characters": "Text length (characters)",
    "words": "Text length (words)",
    "tokens": "Text length (tokens)",
    "oov_ratio": "Share of unknown words",
    "non_latin_ratio": "Share of letters that are not Latin",
    "confidence": "Confidence",
    "entropy": "Uncertainty (entropy)",
    "predicted_label": "Predicted labels",
    "queue_ms": "Wait before inference, ms",
    "inference_ms": "Inference, ms",
    "embedding": "Meaning (embedding)",
    "accuracy": "Accuracy",
    "estimated_accuracy": "Accuracy estimated without labels",
}


def of_problem(code: str, status: int, document: Any) -> str:
    """Return the sentence for a problem; the code stands for what has none."""
    title = document.get("title") if isinstance(document, Mapping) else None
    return PROBLEMS.get(code) or (f"{title}." if title else f"The answer was an error ({code or status}).")


def of_feature(name: str) -> str:
    """Return what a feature is called on the page."""
    return FEATURES.get(name, name.replace("_", " "))


def ago(seconds: float | None) -> str:
    """Return how long something is past, in the largest fitting unit."""
    if seconds is None:
        return "never"
    seconds = max(0.0, seconds)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share in per cent, or a dash where it is not known."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def interval(ratio: Mapping[str, float] | None) -> str:
    """Return the bounds of a ratio, or that there are none."""
    return f"{percent(ratio['lower'])} to {percent(ratio['upper'])}" if ratio else "no label yet"
