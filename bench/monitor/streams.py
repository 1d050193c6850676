"""Streams of recorded answers with known changes, as bins of the monitor's features."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from bench.monitor.answers import COLUMNS, COORDINATES, RECORDED, VERSION
from broker.manifest import Histogram, ReferenceProfile, read_manifest, read_reference
from monitor.profiles import Profile, build
from monitor.settings import Rules
from monitor.watch import DriftWatch

if TYPE_CHECKING:
    from monitor.drift import Counts

Answers = NDArray[np.int32]
MILLION: Final = 1_000_000
NUMBERS: Final = ("words", "oov_ratio", "confidence")
LABEL: Final = "predicted_label"
TAILS: Final = (0.01, 0.02, 0.05, 0.95, 0.98, 0.99)  # edges besides, as the trainer cuts them
REFERENCE: Final = 5000  # texts
DAY: Final = 20_000  # answers in the seasonal streams
QUIET: Final = 3000  # answers before a change
KINDS: Final = 20  # of texts that one author sends


def recorded() -> dict[str, Answers]:
    """Return the recorded answers by domain; "movies" are those that the model was not fitted on."""
    with np.load(RECORDED) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    return found | {"movies": np.concatenate([found["movies_valid"], found["movies_test"]])}


def column(answers: Answers, name: str) -> NDArray[np.float64]:
    """Return one feature of each answer."""
    positive = answers[:, COLUMNS.index("positive")] / MILLION
    match name:
        case "confidence":
            return np.maximum(positive, 1 - positive)
        case "predicted_label":
            return (positive > 0.5).astype(float)  # noqa: PLR2004 of two labels
        case "oov_ratio" | "non_latin_ratio":
            return answers[:, COLUMNS.index(name)] / MILLION
        case name if name in COORDINATES:
            return answers[:, COLUMNS.index(name)] / 1000
    return answers[:, COLUMNS.index(name)].astype(float)


def profile(reference: Answers, rules: Rules) -> Profile:
    """Return the profile of four features and the embedding over *reference*, with the shipped model's manifest."""
    manifest = read_manifest(VERSION)
    features = {}
    for name in (*NUMBERS, *COORDINATES):
        values = column(reference, name)
        parts = 20 if name in COORDINATES else 10
        quantiles = np.quantile(values, np.union1d(np.arange(1, parts) / parts, TAILS), method="inverted_cdf")
        edges = np.unique(quantiles[quantiles < values.max()])
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        features[name] = Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))
    positive = int(column(reference, LABEL).sum())
    labels = dict(zip(manifest.labels, (len(reference) - positive, positive), strict=True))
    made = ReferenceProfile(count=len(reference), source="drawn", features=features, labels=labels)
    return only_watched(build(manifest, made, rules))


def shipped(rules: Rules) -> Profile:
    """Return the profile that ships with the model, of the same features; its reference has 1008 texts."""
    return only_watched(build(read_manifest(VERSION), read_reference(VERSION), rules))


def only_watched(found: Profile) -> Profile:
    """Return *found* with the four features of the figures, and the embedding."""
    return replace(found, features=tuple(f for f in found.features if f.name in (*NUMBERS, LABEL, *COORDINATES)))


def bins_of(answers: Answers, of: Profile) -> NDArray[np.int64]:
    """Return the bin of each answer and feature."""
    values = [(feature, column(answers, feature.name)) for feature in of.features]
    return np.stack(
        [v.astype(np.int64) if f.name == LABEL else np.searchsorted(f.edges, v, side="left") for f, v in values],
        axis=1,
    )


@dataclass(frozen=True, slots=True)
class Begun:
    """Where which detector of which feature began an alarm."""

    at: int
    detector: str
    feature: str


def alarms(
    stream: NDArray[np.int64], of: Profile, rules: Rules, multiple: float = 1.0, hour: int | None = None
) -> Iterator[Begun]:
    """Yield the alarms that *stream* begins, in order; with *hour*, so many answers are one, and days go by."""
    watch = DriftWatch(of, rules)
    watch.at_multiple(multiple)
    nothing = np.zeros((len(stream), 2), dtype=np.int64)
    times = np.arange(len(stream))
    ids = [f"{at}-0" for at in times.tolist()]
    hours: list[list[Counts]] = []
    step = hour or 500
    for start in range(0, len(stream), step):
        part = slice(start, start + step)
        found = [d.alert for d in watch.feed(stream[part], nothing[part], times[part], ids[part], ids[part])]
        begun = [Begun(alert.at_ms, alert.detector, alert.feature) for alert in found if alert.state == "firing"]
        yield from sorted(begun, key=lambda each: each.at)
        if hour is not None:
            hours.append([np.bincount(stream[part, at], minlength=len(f.counts)) for at, f in enumerate(of.features)])
            watch.at_day(hours[-47:-23])


Draw = Callable[[np.random.Generator, int], Answers]


def drawn(pool: Answers) -> Draw:
    """Return a source of independent answers of *pool*."""
    return lambda rng, count: pool[rng.integers(0, len(pool), count)]


def dependent(pool: Answers, correlation: float) -> Draw:
    """Return a source whose lengths follow each other: a normal AR(1) chooses the rank of the length."""
    ordered = pool[np.argsort(column(pool, "words"), kind="stable")]

    def draw(rng: np.random.Generator, count: int) -> Answers:
        steps = rng.standard_normal(count) * np.sqrt(1 - correlation**2)
        level, found = 0.0, np.empty(count)
        for at, step in enumerate(steps.tolist()):
            level = correlation * level + step
            found[at] = level
        ranks = np.argsort(np.argsort(found)) / count
        chosen: Answers = ordered[(ranks * len(pool)).astype(int)]
        return chosen

    return draw


def runs_of_one(pool: Answers, texts: float) -> Draw:
    """Return a source of authors who send *texts* texts on average one after another, each of one kind.

    Of one kind are texts that are neighbours in the coordinate of the embedding that varies most within the movies.
    """
    ordered = pool[np.argsort(column(pool, COORDINATES[0]), kind="stable")]
    kinds = np.array_split(np.arange(len(pool)), KINDS)

    def draw(rng: np.random.Generator, count: int) -> Answers:
        author = np.cumsum(rng.random(count) < 1 / texts)
        kind = rng.integers(0, KINDS, int(author[-1]) + 1)[author]
        sizes, starts = np.array([len(k) for k in kinds]), np.array([k[0] for k in kinds])
        chosen: Answers = ordered[starts[kind] + (rng.random(count) * sizes[kind]).astype(int)]
        return chosen

    return draw


def seasonal(pool: Answers, swing: float) -> Draw:
    """Return a source whose share of positive answers swings by *swing* around its mean, once in `DAY` answers."""
    positive = column(pool, LABEL) > 0
    sides = pool[~positive], pool[positive]

    def draw(rng: np.random.Generator, count: int) -> Answers:
        share = positive.mean() + swing * np.sin(2 * np.pi * np.arange(count) / DAY)
        chosen = rng.random(count) < share
        picks = [side[rng.integers(0, len(side), count)] for side in sides]
        return np.where(chosen[:, None], picks[1], picks[0])

    return draw


def changes(found: dict[str, Answers]) -> dict[str, Draw]:
    """Return what may follow the movies."""
    movies, tweets = found["movies"], found["tweets"]
    truth = movies[:, COLUMNS.index("truth")] == 1

    def mixed(share: Callable[[int], NDArray[np.float64]]) -> Draw:
        def draw(rng: np.random.Generator, count: int) -> Answers:
            chosen = rng.random(count) < share(count)
            return np.where(chosen[:, None], drawn(tweets)(rng, count), drawn(movies)(rng, count))

        return draw

    def shifted(rng: np.random.Generator, count: int) -> Answers:
        chosen = rng.random(count) < 0.8  # noqa: PLR2004 of .5 before
        return np.where(chosen[:, None], drawn(movies[truth])(rng, count), drawn(movies[~truth])(rng, count))

    return {
        "tweets": drawn(tweets),
        "amazon": drawn(found["amazon"]),
        "nyt": drawn(found["nyt"]),
        "truncated": drawn(found["truncated"]),
        "label shift .5 to .8": shifted,
        "ramp to tweets over 5000": mixed(lambda count: np.minimum(np.arange(count) / 5000, 1)),
        "10 % tweets": mixed(lambda count: np.full(count, 0.1)),
    }
