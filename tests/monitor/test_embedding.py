import numpy as np
import pytest

from broker.manifest import Histogram, ReferenceProfile
from monitor.profiles import Profile, build
from monitor.report import summarise
from monitor.settings import Rules
from monitor.state import State
from tests.monitor.entries import START_MS, Entry, entry, prediction_id, reference, result

WIDTH = 3


@pytest.fixture(scope="module")
def profile() -> Profile:
    manifest, made = reference()
    rng = np.random.default_rng(1)
    features = dict(made.features)
    for place in range(WIDTH):
        values = rng.standard_normal(5000)
        edges = np.quantile(values, np.linspace(0.05, 0.95, 19))
        counts = np.bincount(np.searchsorted(edges, values), minlength=20)
        features[f"embedding_{place}"] = Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))
    labels = {"negative": 2500, "positive": 2500}
    return build(manifest, ReferenceProfile(count=5000, source="made up", features=features, labels=labels), Rules())


def texts(count: int, moved_from: int, seed: int, *, said: bool = True) -> list[Entry]:
    """Answers whose first coordinate moves by one standard deviation; nothing else does."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        at = START_MS + number * 20
        coordinates = rng.standard_normal(WIDTH) + np.array([number >= moved_from, 0, 0])
        shown = result(
            id=prediction_id(at - 5, number),
            label="positive" if rng.random() < 0.5 else "negative",
            words=int(np.maximum(1, rng.lognormal(2.8, 0.45))),
            confidence=float(0.5 + 0.5 * rng.beta(3, 1.2)),
            embedding=tuple(np.round(coordinates, 3).tolist()) if said else None,
        )
        found.append(entry(shown, at, number))
    return found


def of(profile: Profile) -> State:
    return State(Rules(), lambda version: profile if version == "1" else Profile(version, 0.8))


def test_what_texts_mean_may_move_while_nothing_else_does(profile: Profile) -> None:
    watched = of(profile)
    alerts = watched.results.fold(texts(4000, 2000, 2))
    (scan,) = [alert for alert in alerts if alert.feature == "embedding"]
    assert (scan.detector, scan.state, scan.severity) == ("scan", "firing", "ticket")
    assert 2000 * 20 <= scan.at_ms - START_MS <= 2300 * 20
    assert next(iter(scan.evidence["coordinates"])) == "embedding_0"
    assert "embedding_0" in scan.summary
    assert len(scan.evidence["reference"]) == len(scan.evidence["current"]) == len(scan.evidence["edges"]) + 1
    assert len(scan.evidence["sample_ids"]) > 0
    rows = summarise("sentiment", [watched])["versions"]["1"]["sequential"]
    assert [row for row in rows if (row["feature"], row["method"]) == ("embedding", "scan")]


def test_answers_without_coordinates_say_nothing_of_the_embedding(profile: Profile) -> None:
    watched = of(profile)
    assert [a for a in watched.results.fold(texts(2000, 0, 3, said=False)) if a.feature == "embedding"] == []


@pytest.mark.parametrize("size", [5, 250, 1999])
def test_the_embedding_is_the_same_in_any_batches_and_over_a_restart(profile: Profile, size: int) -> None:
    entries = texts(2600, 1500, 4)
    whole, parts = of(profile), of(profile)
    whole.results.fold(entries)
    for start in range(0, len(entries), size):
        parts.results.fold(entries[start : start + size])
        if start % 500 < size:
            again = of(profile)
            again.decode(parts.encode())
            parts = again
    assert parts.encode() == whole.encode()
