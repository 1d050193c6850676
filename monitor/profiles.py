"""What a version should look like: its labels, its target accuracy, its reference histograms."""

import contextlib
import hashlib
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.errors import ModelRefusedError
from broker.manifest import (
    Calibration,
    Histogram,
    ModelManifest,
    ReferenceProfile,
    live_version,
    read_manifest,
    read_reference,
)
from monitor import run_length
from monitor.accuracy import MICRO
from monitor.detectors import CALM, HOLD
from monitor.drift import Counts
from monitor.ranks import Stakes, middle_ranks
from monitor.settings import Rules

NUMERIC: Final = (
    *("characters", "words", "tokens", "oov_ratio", "non_latin_ratio", "confidence", "entropy"),
    *("queue_ms", "inference_ms"),
)
LABEL: Final = "predicted_label"
# Features that tell of the same thing: alarms of one kind are one reason to worry, not several.
KINDS: Final = {
    **dict.fromkeys(("characters", "words", "tokens"), "length"),
    **dict.fromkeys(("oov_ratio", "non_latin_ratio"), "vocabulary"),
    **dict.fromkeys(("confidence", "entropy", LABEL), "answers"),
}
# Bins of features of which a reference may say nothing: counted, not judged.
_TIMES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
UNJUDGED: Final = {"non_latin_ratio": (0.0, 0.05, 0.2, 0.5), "queue_ms": _TIMES, "inference_ms": _TIMES}
MAX_CHANNELS: Final = 32  # labels with a detector of their own, the most frequent ones
MISSING_RETRY_S: Final = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Channel:
    """One score per bin with the heights at which its two CUSUMs begin an alarm, and one bet per bin."""

    steps_up: NDArray[np.int64]
    steps_down: NDArray[np.int64]
    height_up: int
    height_down: int
    growth_up: float  # of the logarithm of the run length with each score of height
    growth_down: float
    calm: int  # steps of a block that sum to less say that the feature is back
    stakes: Stakes

    @classmethod
    def calibrated(
        cls, counts: Counts, scores: NDArray[np.int64], ranks: NDArray[np.float64], each_run: float
    ) -> "Channel":
        """Choose the heights so that each side runs *each_run* entries between false alarms."""
        off = run_length.allowance(int(counts.sum()))
        return cls(
            scores - off,
            -scores - off,
            run_length.threshold(counts, scores, each_run),
            run_length.threshold(counts, -scores, each_run),
            run_length.growth(counts, scores),
            run_length.growth(counts, -scores),
            -round(HOLD * off * (1 - CALM)),
            Stakes.of(ranks, counts),
        )

    def heights(self, multiple: float) -> tuple[int, int]:
        """Return both heights for a run length *multiple* times the calibrated one, which it grows to exponentially."""
        more = math.log(multiple)
        return self.height_up + math.ceil(more / self.growth_up), self.height_down + math.ceil(more / self.growth_down)


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """The reference of one feature. A numeric one has inner edges; the label's bins are the label ids.

    Without a reference all counts are 0 and there are no channels: what comes is counted and not judged.
    """

    name: str
    edges: NDArray[np.float64]
    counts: Counts
    channels: tuple[Channel, ...]

    @property
    def judged(self) -> bool:
        """Whether there is a reference to judge by."""
        return bool(self.channels)


@dataclass(frozen=True, slots=True)
class Profile:
    """One version as the monitor needs it; without its folder there are no labels and no features."""

    version: str
    target: float
    labels: tuple[str, ...] = ()
    digest: str = ""  # of the reference: histograms on other bins cannot be added
    features: tuple[FeatureProfile, ...] = ()
    calibration: Calibration | None = None

    def expected(self, confidence: NDArray[np.float64]) -> NDArray[np.int64] | None:
        """Return how likely each answer is right, in millionths, by the reference's calibration; None without one."""
        if self.calibration is None:
            return None
        shares = np.interp(confidence, self.calibration.confidence, self.calibration.accuracy)
        return np.rint(shares * MICRO).astype(np.int64)

    def expected_of(self, micro: int) -> int | None:
        """Return the same of one answer whose confidence is *micro* millionths."""
        found = self.expected(np.array([micro / MICRO]))
        return None if found is None else int(found[0])


class Profiles:
    """The versions of one model in the store, each read once; one that is not there is looked for again later."""

    def __init__(self, folder: Path, rules: Rules) -> None:
        self._folder = folder
        self._rules = rules
        self._found: dict[str, Profile] = {}
        self._missing: dict[str, float] = {}

    def __call__(self, version: str) -> Profile:
        """Return the profile of *version*; a bare one, said once, where it has no folder or no reference."""
        if version in self._found:
            return self._found[version]
        now = time.monotonic()
        if now < self._missing.get(version, 0.0):
            return Profile(version, self._rules.target_accuracy)
        profile = self._read(version, first=version not in self._missing)
        if profile.digest:
            self._found[version] = profile
        else:
            self._missing[version] = now + MISSING_RETRY_S
        return profile

    def prepare(self) -> None:
        """Read the live version now; solving its detectors' heights takes a moment that no reader should wait."""
        with contextlib.suppress(ModelRefusedError):  # said when the version is met
            self(live_version(self._folder.parent, self._folder.name))

    def _read(self, version: str, *, first: bool) -> Profile:
        folder = self._folder / version
        profile = Profile(version, self._rules.target_accuracy)
        try:
            manifest = read_manifest(folder)
            profile = Profile(version, manifest.target_accuracy, manifest.labels)
            return build(manifest, read_reference(folder), self._rules)
        except ModelRefusedError as error:
            if first:
                log.warning("version is counted without drift: %s", error)
            return profile


def build(manifest: ModelManifest, reference: ReferenceProfile, rules: Rules) -> Profile:
    """Turn a manifest and a reference into bins, scores and calibrated heights."""
    each_side = 2 * rules.drift_run_length
    features = [_numeric(name, reference.features.get(name), len(manifest.labels), each_side) for name in NUMERIC]
    labels = np.array([reference.labels.get(label, 0) for label in manifest.labels], dtype=np.int64)
    if labels.sum():
        features.append(FeatureProfile(LABEL, np.zeros(0), labels, _label_channels(labels, each_side)))
    digest = hashlib.sha256(reference.model_dump_json().encode()).hexdigest()[:16]
    kept = tuple(feature for feature in features if feature is not None)
    calibration = reference.calibration if reference.calibration and reference.calibration.confidence else None
    return Profile(manifest.version, manifest.target_accuracy, manifest.labels, digest, kept, calibration)


def _numeric(name: str, histogram: Histogram | None, labels: int, each_side: float) -> FeatureProfile | None:
    """Return the profile of a numeric feature; None where there is nothing to count it by."""
    counts = np.array(histogram.counts if histogram else (), dtype=np.int64)
    if histogram is None or len(counts) < 2 or not counts.sum():  # noqa: PLR2004 - one bin says nothing
        edges = np.array(UNJUDGED.get(name, ()))
        return FeatureProfile(name, edges, np.zeros(len(edges) + 1, dtype=np.int64), ()) if len(edges) else None
    if name == "entropy" and labels == 2:  # noqa: PLR2004 - of two labels it says what the confidence says
        return FeatureProfile(name, np.array(histogram.edges), 0 * counts, ())
    ranks = middle_ranks(counts)
    channel = Channel.calibrated(counts, run_length.ordinal_scores(counts), ranks, each_side)
    return FeatureProfile(name, np.array(histogram.edges), counts, (channel,))


def _label_channels(counts: Counts, each_side: float) -> tuple[Channel, ...]:
    """Return a channel per label; two labels need one, since one is what the other is not."""
    chosen = [1] if len(counts) == 2 else np.argsort(-counts, kind="stable")[:MAX_CHANNELS].tolist()  # noqa: PLR2004
    places = np.eye(len(counts))
    return tuple(
        Channel.calibrated(counts, run_length.indicator_scores(counts, which), places[which], each_side * len(chosen))
        for which in chosen
    )
