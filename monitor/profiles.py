"""What a version should look like: its labels, its target accuracy, its reference histograms."""

import contextlib
import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.errors import ModelRefusedError
from broker.manifest import ModelManifest, ReferenceProfile, live_version, read_manifest, read_reference
from monitor import run_length
from monitor.drift import Counts
from monitor.settings import Rules

NUMERIC: Final = ("characters", "words", "tokens", "oov_ratio", "confidence")
LABEL: Final = "predicted_label"
MAX_CHANNELS: Final = 32  # labels with a detector of their own, the most frequent ones
MISSING_RETRY_S: Final = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Channel:
    """One score per bin and the height at which its two CUSUMs begin an alarm."""

    steps_up: NDArray[np.int64]
    steps_down: NDArray[np.int64]
    height_up: int
    height_down: int

    @classmethod
    def calibrated(cls, counts: Counts, scores: NDArray[np.int64], each_run: float) -> "Channel":
        """Choose the heights so that each side runs *each_run* entries between false alarms."""
        off = run_length.allowance(int(counts.sum()))
        up = run_length.threshold(counts, scores, each_run)
        down = run_length.threshold(counts, -scores, each_run)
        return cls(scores - off, -scores - off, up, down)


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """The reference of one feature. A numeric one has inner edges; the label's bins are the label ids."""

    name: str
    edges: NDArray[np.float64]
    counts: Counts
    channels: tuple[Channel, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """One version as the monitor needs it; without its folder there are no labels and no features."""

    version: str
    target: float
    labels: tuple[str, ...] = ()
    digest: str = ""  # of the reference: histograms on other bins cannot be added
    features: tuple[FeatureProfile, ...] = ()


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
    features = []
    for name in NUMERIC:
        if name not in reference.features:
            continue
        histogram = reference.features[name]
        counts = np.array(histogram.counts, dtype=np.int64)
        if len(counts) < 2 or not counts.sum():  # noqa: PLR2004 - one bin says nothing
            continue
        channel = Channel.calibrated(counts, run_length.ordinal_scores(counts), each_side)
        features.append(FeatureProfile(name, np.array(histogram.edges), counts, (channel,)))
    labels = np.array([reference.labels.get(label, 0) for label in manifest.labels], dtype=np.int64)
    if labels.sum():
        features.append(FeatureProfile(LABEL, np.zeros(0), labels, _label_channels(labels, each_side)))
    digest = hashlib.sha256(reference.model_dump_json().encode()).hexdigest()[:16]
    return Profile(manifest.version, manifest.target_accuracy, manifest.labels, digest, tuple(features))


def _label_channels(counts: Counts, each_side: float) -> tuple[Channel, ...]:
    """Return a channel per label; two labels need one, since one is what the other is not."""
    chosen = [1] if len(counts) == 2 else np.argsort(-counts, kind="stable")[:MAX_CHANNELS].tolist()  # noqa: PLR2004
    return tuple(
        Channel.calibrated(counts, run_length.indicator_scores(counts, which), each_side * len(chosen))
        for which in chosen
    )
