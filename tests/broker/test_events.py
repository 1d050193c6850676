import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import Alert, DeadLetter, Feedback, Request, Result
from broker.streams import PredictionId, Tag

TAG = Tag("sentiment")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)
TAGS = st.dictionaries(TEXT, TEXT, max_size=4)
FLOATS = st.floats(0, 1)

REQUESTS = st.builds(
    Request,
    id=st.builds(lambda: str(PredictionId.new(TAG))),
    text=TEXT,
    version=st.none() | st.just("1"),
    pinned=st.booleans(),
    deadline_ms=st.integers(1, 10**7),
    threshold=st.none() | FLOATS,
    truncate=st.booleans(),
    tags=TAGS,
    true_label=st.none() | TEXT,
)
RESULTS = st.builds(
    Result,
    id=TEXT,
    version=TEXT,
    status=st.sampled_from(["ok", "error"]),
    confidence=st.none() | FLOATS,
    probabilities=st.dictionaries(TEXT, FLOATS, max_size=4),
    queue_ms=st.floats(0, 1e6),
    abstained=st.none() | st.booleans(),
    worker=TEXT,
    tags=TAGS,
)
FEEDBACK = st.builds(
    Feedback,
    id=TEXT,
    label=TEXT,
    predicted=TEXT,
    confidence=FLOATS,
    version=TEXT,
    previous_label=st.none() | TEXT,
    source=st.sampled_from(["request", "caller"]),
)


def on_the_wire(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


@given(REQUESTS | RESULTS | FEEDBACK)
def test_an_event_is_read_as_it_was_written(event):
    assert type(event).from_fields(on_the_wire(event.to_fields())) == event


def test_a_text_alone_is_a_request():
    request = Request.from_entry(TAG, "1795384412453-7", {b"text": b"hello"})
    assert request.id == str(PredictionId.of_entry(TAG, "1795384412453-7"))
    assert (request.text, request.truncate, request.deadline_ms) == ("hello", True, 30_000)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "text"),
        ({b"text": b""}, "text"),
        ({b"text": b"x" * 10_001}, "text"),
        ({b"text": b"\xff"}, "UTF-8"),
        ({b"text": b"x", b"secret-words": b"1"}, "a field of another name"),
        ({b"text": b"x", b"threshold": b"secret-words"}, "threshold"),
        ({b"text": b"x", b"deadline_ms": b"soon"}, "deadline_ms"),
        ({b"text": b"x", b"tags": b"{"}, "tags"),
        ({b"text": b"x", b"tags": b'{"a":"1","b":"2","c":"3","d":"4","e":"5"}'}, "tags"),
        ({b"text": b"x", b"threshold": b"nan"}, "threshold"),
        ({b"text": b"x", b"schema_version": b"one"}, "schema_version"),
        ({b"text": b"x", b"id": b"topics.0.0193b5c4-0000-7000-8000-000000000000"}, "id"),
        ({b"text": b"x", b"id": b"nonsense"}, "id"),
        ({f"field{n}".encode(): b"x" for n in range(1000)}, "1000 fields"),
    ],
)
def test_an_entry_that_is_no_request_is_refused_without_repeating_it(fields, why):
    with pytest.raises(MalformedEntryError, match=why) as refused:
        Request.from_entry(TAG, "1-0", fields)
    assert "secret-words" not in str(refused.value)


RIGHT = {
    b"id": b"x",
    b"version": b"1",
    b"status": b"ok",
    b"label": b"good",
    b"confidence": b"0.9",
    b"queue_ms": b"1",
    b"probabilities": b'{"good":0.9,"bad":0.1}',
    b"worker": b"w",
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"confidence", b"7"),
        (b"confidence", b"nan"),
        (b"confidence", b"-0.1"),
        (b"label", b"unknown"),
        (b"probabilities", b'{"good":1.5}'),
        (b"oov_ratio", b"2"),
        (b"words", b"-1"),
        (b"queue_ms", b"inf"),
        (b"key", b"observa_0123456789ab.secret-words"),
    ],
)
def test_a_result_that_no_version_can_have_made_cannot_be_read(field, value):
    assert Result.from_fields(RIGHT).label == "good"
    with pytest.raises(MalformedEntryError) as refused:
        Result.from_fields(RIGHT | {field: value})
    assert "secret-words" not in str(refused.value)


def test_an_entry_of_a_newer_schema_is_told_apart_from_nonsense():
    with pytest.raises(NewerSchemaError, match="schema_version 2"):
        Request.from_fields({b"schema_version": b"2", b"words": b"x"})


def test_results_feedback_and_alerts_have_no_field_for_text():
    for event in (Result, Feedback, Alert):
        assert not {"text", "entry", "input"} & event.model_fields.keys()
    assert "entry" in DeadLetter.model_fields
