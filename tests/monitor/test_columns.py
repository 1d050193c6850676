import math
from collections import Counter
from dataclasses import fields as fields_of

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.batches import read_results
from monitor.columns import Results, read_label
from monitor.profiles import NUMERIC
from tests.monitor.entries import START_MS, entry, feedback, prediction_id, result, state


def test_fast_reading_agrees_with_the_event_models() -> None:
    shown = result(tags={"evaluation": "r", "team": "a"}, truncated=True, role="canary", oov_ratio=0.25)
    rows = read_results([entry(shown, START_MS)])
    assert (rows.ids, rows.versions, rows.roles, rows.statuses) == ([shown.id], ["1"], ["canary"], ["ok"])
    assert (rows.labels, rows.evaluations, rows.flags.tolist()) == (["positive"], ["r"], [[False, True]])
    assert rows.times.tolist() == [START_MS]
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
        ({b"confidence": b"7"}, "malformed"),
        ({b"confidence": b"-0.1"}, "malformed"),
        ({b"id": b"x" * 200}, "malformed"),
    ],
)
def test_what_cannot_be_read_is_counted_by_its_reason_and_skipped(changes: dict[bytes, bytes], reason: str) -> None:
    watched = state()
    for fold, event in ((watched.results, result()), (watched.feedback, feedback())):
        entry_id, fields = entry(event, START_MS)
        fold.fold([(entry_id, fields | changes), (b"%d-1" % START_MS, fields)])
        assert fold.aside.counts == {reason: 1}
        assert fold.entries_read == 2
    assert orjson.loads(watched.encode())


@pytest.mark.parametrize(
    "changes",
    [
        {b"label": b"neutral"},
        {b"label": b"posit"},
        {b"words": b"-3"},
        {b"oov_ratio": b"1.5"},
        {b"queue_ms": b"-1"},
        {b"probabilities": b'{"negative" :0.1}'},
    ],
)
def test_a_result_that_no_version_can_have_made_does_not_count(changes: dict[bytes, bytes]) -> None:
    entry_id, fields = entry(result(), START_MS)
    rows = read_results([(b"%d-%d" % (START_MS, n), fields | (changes if n == 7 else {})) for n in range(20)])
    assert (len(rows.ids), rows.unreadable) == (19, [(f"{START_MS}-7", "malformed")])
    spaced = read_results([(entry_id, fields | {b"probabilities": b'{"negative" : 0.1, "positive" : 0.9}'})])
    assert spaced.labels == ["positive"]  # as somebody writes it by hand


ODD: list[bytes] = [
    *(b"", b"nan", b"inf", b"-1", b"1e400", b"1_0", b"0x10", b" 7 ", b"1,2", b"[1", b"2]", b"true", b"null", b'"5"'),
    *(b"ok", b"error", b"shadow", b"\xff", b"a\nb", b"x" * 200, b"1", b"2", b"[]", b"[1,2],[3]", b"[1,true]", b"[[1]]"),
    *(b'{"a":1,"b":2,"c":3}', b'{"evaluation":"r"}', b'{"team":"a"}', b"[" + b",".join([b"0.5"] * 17) + b"]"),
]
PLAIN = entry(result(embedding=(0.5, -1.25), non_latin_ratio=0.0), START_MS)[1]


@given(st.lists(st.dictionaries(st.sampled_from([*PLAIN, b"tags", b"more"]), st.sampled_from(ODD), max_size=2)))
def test_entries_read_together_are_read_as_one_by_one(changes: list[dict[bytes, bytes]]) -> None:
    entries = [(b"%d-%d" % (START_MS, number), PLAIN | odd) for number, odd in enumerate(changes)]
    together = read_results(
        [(entry_id, [part for field in fields.items() for part in field]) for entry_id, fields in entries]
    )
    singly = [read_results([one]) for one in entries]
    for column in fields_of(Results):
        parts = [getattr(rows, column.name) for rows in singly]
        whole = getattr(together, column.name)
        if isinstance(whole, dict):
            assert whole == dict(sum((Counter(part) for part in parts), Counter()))
        elif isinstance(whole, list):
            assert whole == [value for part in parts for value in part]
        else:
            np.testing.assert_array_equal(whole, np.concatenate([whole[:0], *parts]))


def test_an_embedding_is_a_row_of_numbers_and_nan_where_nothing_was_said() -> None:
    rows = read_results([entry(result(embedding=(0.5, -1.25)), START_MS), entry(result(), START_MS, 1)])
    assert rows.embedding[0, :2].tolist() == [0.5, -1.25]
    assert np.isnan(rows.embedding[0, 2:]).all()
    assert np.isnan(rows.embedding[1]).all()
