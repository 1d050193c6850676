"""What a version should look like: its labels, its target accuracy, its reference histograms."""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.errors import ModelRefusedError, StoreError
from broker.manifest import (
    Calibration,
    Histogram,
    ModelManifest,
    ReferenceProfile,
    live_version,
    read_manifest,
    read_reference,
)
from broker.store import Store
from monitor import run_length
from monitor.accuracy import MICRO
from monitor.channels import Channel, coarse
from monitor.drift import WINDOW_ALPHA, Counts, bridge_quantiles
from monitor.loading import beside
from monitor.settings import Rules

NUMERIC: Final = (
    *("characters", "words", "tokens", "oov_ratio", "non_latin_ratio", "confidence", "entropy"),
    *("queue_ms", "inference_ms"),
)
LABEL: Final = "predicted_label"
EMBEDDING: Final = "embedding"  # of all coordinates together; each is also counted under its own name
# Features that tell of the same thing: alarms of one kind are one reason to worry, not several.
KINDS: Final = {
    **dict.fromkeys(("characters", "words", "tokens"), "length"),
    **dict.fromkeys(("oov_ratio", "non_latin_ratio"), "vocabulary"),
    **dict.fromkeys(("confidence", "entropy", LABEL), "answers"),
    EMBEDDING: "meaning",
}
# Bins of features of which a reference may say nothing: counted, not judged.
_TIMES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
UNJUDGED: Final = {"non_latin_ratio": (0.0, 0.05, 0.2, 0.5), "queue_ms": _TIMES, "inference_ms": _TIMES}
MAX_CHANNELS: Final = 32  # labels with a detector of their own, the most frequent ones
MAX_COORDINATES: Final = 16
SIDES: Final = 4  # of a CUSUM: two of the level and two tails share its false alarms...
LABEL_SIDES: Final = 2  # ...and more or less of a label
MISSING_RETRY_S: Final = 10.0
MOST_MISSING: Final = 64  # versions that are looked for again
AT_ONCE: Final = 24  # versions that are read, as many as a snapshot holds
READ_S: Final = 30.0  # that the first entry of a version waits for the store
NO_REFERENCE: Final = "reference"  # there is none that can be read
NO_DETECTORS: Final = "detectors"  # none can be built by it

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """The reference of one feature. A numeric one has inner edges; the label's bins are the label ids.

    Without a reference all counts are 0 and there are no channels: what comes is counted and not judged.
    """

    name: str
    edges: NDArray[np.float64]
    counts: Counts
    channels: tuple[Channel, ...]
    groups: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    @property
    def coarse_counts(self) -> Counts:
        """The reference on the bins of which each holds enough to be tested for its shape."""
        return self.merged(self.counts)

    def merged(self, counts: Counts) -> Counts:
        """Return *counts* on those bins."""
        merged: Counts = np.add.reduceat(counts, self.groups)
        return merged

    def bins(self, *, coarse: bool = False) -> dict[str, list[float]]:
        """Return the inner edges of the bins, as evidence; nothing of labels, whose ids say it."""
        if self.name == LABEL:
            return {}
        return {"edges": (self.edges[self.groups[1:] - 1] if coarse else self.edges).tolist()}

    @property
    def judged(self) -> bool:
        """Whether there is a reference to judge by."""
        return bool(self.channels)


@dataclass(frozen=True, slots=True)
class Embedding:
    """The coordinates of the version's own projection, judged together."""

    features: tuple[FeatureProfile, ...]  # one a coordinate, counted and not judged alone
    scores: NDArray[np.int64]  # (coordinates, bins); a coordinate with fewer bins than another has zeros there
    reference: int  # texts
    variances: list[float]  # of each coordinate's scores

    @classmethod
    def of(cls, features: Iterable[FeatureProfile]) -> "Embedding | None":
        """Return the embedding whose coordinates are *features*; None without any."""
        kept = tuple(features)
        if not kept:
            return None
        scores = np.zeros((len(kept), max(len(feature.counts) for feature in kept)), dtype=np.int64)
        variances = []
        for place, feature in enumerate(kept):
            found = run_length.ordinal_scores(feature.counts)
            scores[place, : len(found)] = found
            variances.append(max(float(found**2 @ feature.counts) / float(feature.counts.sum()), 1.0))
        return cls(kept, scores, int(kept[0].counts.sum()), variances)


@dataclass(frozen=True, slots=True)
class Profile:
    """One version as the monitor needs it; without its folder there are no labels and no features."""

    version: str
    target: float
    labels: tuple[str, ...] = ()
    digest: str = ""  # of the reference: histograms on other bins cannot be added
    features: tuple[FeatureProfile, ...] = ()
    calibration: Calibration | None = None
    embedding: Embedding | None = None
    unwatched: str | None = None  # why its drift is not watched: NO_REFERENCE or NO_DETECTORS

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


Fetched = tuple[ModelManifest | None, ReferenceProfile | None]


class Reading(NamedTuple):
    """A version that is being read: from the store, then its heights solved."""

    fetched: "asyncio.Future[Fetched]"
    task: asyncio.Task[None]


class Missing(NamedTuple):
    """What is known of a version without a reference, and when it is looked for again."""

    profile: Profile
    again_s: float  # on the monotonic clock


class Profiles:
    """The versions of one model in the store, each read once; one that is not there is looked for again later.

    A store may be slow or hang, and solving a version's heights takes a moment: both happen in threads. For the store
    nothing waits longer than `READ_S`; what it has not given by then is counted without drift.
    """

    def __init__(self, folder: Path, rules: Rules, store: Store | None = None) -> None:
        self._folder = folder
        self._rules = rules
        self._store = store  # asked for what the folder does not have
        self._found: dict[str, Profile] = {}
        self._missing: dict[str, Missing] = {}
        self._reading: dict[str, Reading] = {}

    def __call__(self, version: str) -> Profile:
        """Return the profile of *version* as far as it is known; a bare one where it was not read."""
        if version in self._found:
            return self._found[version]
        missing = self._missing.get(version)
        return missing.profile if missing else self._bare(version)

    async def load(self, versions: Iterable[str]) -> None:
        """Read those of *versions* that are not known. Only at the first try it waits for them."""
        now = time.monotonic()
        first = []
        for version in versions:
            if version in self._found:
                continue
            missing = self._missing.get(version)
            if (
                version not in self._reading
                and len(self._reading) < AT_ONCE
                and (not missing or now >= missing.again_s)
            ):
                self._begin(version, first=missing is None)
            if version in self._reading and missing is None:
                first.append(version)
        readings = [self._reading[version] for version in first]
        if readings:
            await asyncio.wait([reading.fetched for reading in readings], timeout=READ_S)
        for version, reading in zip(first, readings, strict=True):
            if reading.fetched.done():
                await asyncio.wait([reading.task])  # solving takes as long as it takes: the state needs its bins
            else:
                log.warning("%s/%s is counted without drift: the store is slow", self._folder.name, version)
                self._note_missing(self._bare(version))

    async def prepare(self) -> None:
        """Read the live version now, so that no entry waits for it."""
        pointer = beside(lambda: live_version(self._folder.parent, self._folder.name))
        with contextlib.suppress(ModelRefusedError, TimeoutError):  # said when the version is met
            await self.load([await asyncio.wait_for(pointer, READ_S)])

    def _begin(self, version: str, *, first: bool) -> None:
        fetched = beside(lambda: self._fetch(version, first=first))
        self._reading[version] = Reading(fetched, asyncio.create_task(self._learn(version, fetched, first=first)))

    def _fetch(self, version: str, *, first: bool) -> Fetched:
        """Return what the store has of *version*, said where that is not all."""
        folder, name = self._folder / version, self._folder.name
        manifest = None
        try:
            store = self._store if not folder.is_dir() else None
            manifest = store.manifest(name, version) if store else read_manifest(folder)
            return manifest, store.reference(name, version) if store else read_reference(folder)
        except (ModelRefusedError, StoreError) as error:
            if first:
                log.warning("version is counted without drift: %s", error)
            return manifest, None

    async def _learn(self, version: str, fetched: "asyncio.Future[Fetched]", *, first: bool) -> None:
        profile = self._bare(version)
        try:
            manifest, reference = await fetched
            if manifest:
                profile = replace(profile, target=manifest.target_accuracy, labels=manifest.labels)
            if manifest and reference:
                if first and f"{EMBEDDING}_0" not in reference.features:
                    log.info("the embedding of %s is not watched: its reference has none", f"{manifest.name}/{version}")
                profile = await beside(lambda: build(manifest, reference, self._rules))
        except Exception as error:  # noqa: BLE001 numbers of any kind may break a detector; what came is counted
            log.warning(
                "version is counted without drift: no detectors can be built by the reference of %s/%s (%s: %s); "
                "make it again, just verify-model tries it",
                *(self._folder.name, version, type(error).__name__, error),
            )
            profile = replace(profile, unwatched=NO_DETECTORS)
        finally:
            del self._reading[version]
        if profile.digest or profile.unwatched == NO_DETECTORS:
            self._missing.pop(version, None)
            self._found[version] = profile
        else:
            self._note_missing(profile)

    def _bare(self, version: str) -> Profile:
        return Profile(version, self._rules.target_accuracy, unwatched=NO_REFERENCE)

    def _note_missing(self, profile: Profile) -> None:
        self._missing.pop(profile.version, None)
        self._missing[profile.version] = Missing(profile, time.monotonic() + MISSING_RETRY_S)
        while len(self._missing) > MOST_MISSING:
            del self._missing[next(iter(self._missing))]


def build(manifest: ModelManifest, reference: ReferenceProfile, rules: Rules) -> Profile:
    """Turn a manifest and a reference into bins, scores and calibrated heights."""
    run = rules.drift_run_length
    features = [_numeric(name, reference.features.get(name), len(manifest.labels), run) for name in NUMERIC]
    labels = np.array([reference.labels.get(label, 0) for label in manifest.labels], dtype=np.int64)
    if labels.sum():
        features.append(FeatureProfile(LABEL, np.zeros(0), labels, _label_channels(labels, run), _each(labels)))
    coordinates = _coordinates(reference)
    said = reference.model_dump_json()
    if tuple(reference.labels) != manifest.labels:  # which are the bins of the predicted label
        said += repr(manifest.labels)
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    return Profile(
        manifest.version,
        manifest.target_accuracy,
        manifest.labels,
        digest,
        (*(feature for feature in features if feature is not None), *coordinates),
        reference.calibration if reference.calibration and reference.calibration.confidence else None,
        Embedding.of(coordinates),
    )


def _numeric(name: str, histogram: Histogram | None, labels: int, run: float) -> FeatureProfile | None:
    """Return the profile of a numeric feature; None where there is nothing to count it by."""
    counts = np.array(histogram.counts if histogram else (), dtype=np.int64)
    if histogram is None or len(counts) < 2 or not counts.sum():  # noqa: PLR2004 - one bin says nothing
        edges = np.array(UNJUDGED.get(name, ()))
        return FeatureProfile(name, edges, np.zeros(len(edges) + 1, dtype=np.int64), ()) if len(edges) else None
    if name == "entropy" and labels == 2:  # noqa: PLR2004 - of two labels it says what the confidence says
        return FeatureProfile(name, np.array(histogram.edges), 0 * counts, ())
    channel = Channel.of_ranks(counts, SIDES * run)
    feature = FeatureProfile(name, np.array(histogram.edges), counts, (channel,), coarse(counts))
    bridge_quantiles(feature.coarse_counts, WINDOW_ALPHA)  # here, in a thread: reports are made on the event loop
    return feature


def _label_channels(counts: Counts, run: float) -> tuple[Channel, ...]:
    """Return a channel per label; two labels need one, since one is what the other is not."""
    chosen = [1] if len(counts) == 2 else np.argsort(-counts, kind="stable")[:MAX_CHANNELS].tolist()  # noqa: PLR2004
    return tuple(Channel.of_label(counts, which, LABEL_SIDES * run * len(chosen)) for which in chosen)


def _each(counts: Counts) -> NDArray[np.int64]:
    return np.arange(len(counts), dtype=np.int64)


def _coordinates(reference: ReferenceProfile) -> tuple[FeatureProfile, ...]:
    """Return the coordinates of the embedding that the reference holds, in order."""
    found = []
    for place in range(MAX_COORDINATES):
        histogram = reference.features.get(f"{EMBEDDING}_{place}")
        if histogram is None or len(histogram.counts) < 2 or not sum(histogram.counts):  # noqa: PLR2004 - one bin says nothing
            break
        counts = np.array(histogram.counts, dtype=np.int64)
        found.append(FeatureProfile(f"{EMBEDDING}_{place}", np.array(histogram.edges), counts, ()))
    return tuple(found)
