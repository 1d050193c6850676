"""Which page of docs/runbooks says what to do about an alarm."""

from typing import Final

FOLDER: Final = "docs/runbooks"
OF_DETECTORS: Final = {"service": "ServiceChanged", "estimate": "EstimatedAccuracyLow"}
OF_ACCURACY: Final = {"e-sr": "AccuracyAlarm", "adwin": "AccuracyFell"}  # any other: AccuracyBelowTarget
OF_FEATURES: Final = {
    "predicted_label": "TargetDrift",
    "confidence": "ConfidenceDrift",
    "entropy": "ConfidenceDrift",
}  # any other: InputDrift


def runbook(detector: str, feature: str) -> str:
    """Return the path of the page, from the root of the repository."""
    if feature == "accuracy":
        page = OF_ACCURACY.get(detector, "AccuracyBelowTarget")
    elif feature.startswith("accuracy/"):
        page = "SliceAccuracyLow"
    else:
        page = OF_DETECTORS.get(detector) or OF_FEATURES.get(feature, "InputDrift")
    return f"{FOLDER}/{page}.md"
