import math

import orjson
import pytest

from monitor.batches import read_results
from monitor.columns import read_label
from monitor.profiles import NUMERIC
from tests.monitor.entries import START_MS, entry, feedback, prediction_id, result, state


def test_fast_reading_agrees_with_the_event_models() -> None:
    shown = result(tags={"evaluation": "r", "team": "a"}, truncated=True, role="canary", oov_ratio=0.25)
    rows = read_results([entry(shown, START_MS)])
    assert (rows.ids, rows.versions, rows.roles, rows.statuses) == ([shown.id], ["1"], ["canary"], ["ok"])
    assert (rows.labels, rows.evaluations, rows.flags) == (["positive"], ["r"], [(False, True)])
    assert rows.slices == [("team=a",)]
    numbers = dict(zip(NUMERIC, rows.values()[0].tolist(), strict=True))
    assert numbers.pop("entropy") == pytest.approx(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)))
    expected = {"characters": 100, "words": 18, "tokens": 20, "oov_ratio": 0.25, "confidence": 0.9}
    assert {name: numbers[name] for name in expected} == expected
    assert (numbers["queue_ms"], numbers["inference_ms"]) == (1, 2)
    assert math.isnan(numbers["non_latin_ratio"])  # an older worker did not say
    label = read_label(entry(feedback(confidence=0.25, previous_label="odd"), START_MS + 7, 3))
    assert label[:4] == (f"{START_MS + 7}-3", START_MS + 7, prediction_id(START_MS), START_MS)
    assert label[4:] == ("1", "positive", "positive", 250_000, "odd", None, ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({b"schema_version": b"2"}, "newer"),
        ({b"schema_version": b"x"}, "malformed"),
        ({b"version": b"../etc"}, "malformed"),
        ({b"label": b"\xff"}, "malformed"),
        ({b"label": b""}, "malformed"),
        ({b"tags": b'{"evaluation": '}, "malformed"),
        ({b"tags": b'["evaluation"]'}, "malformed"),
        ({b"confidence": b"inf"}, "malformed"),
        ({b"id": b"x" * 200}, "malformed"),
    ],
)
def test_what_cannot_be_read_is_counted_by_its_reason_and_skipped(changes: dict[bytes, bytes], reason: str) -> None:
    watched = state()
    for fold, event in ((watched.results, result()), (watched.feedback, feedback())):
        entry_id, fields = entry(event, START_MS)
        fold.fold([(entry_id, fields | changes), (b"%d-1" % START_MS, fields)])
        assert fold.unreadable == {reason: 1}
        assert fold.entries_read == 2
    assert orjson.loads(watched.encode())
