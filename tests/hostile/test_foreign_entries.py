"""Entries that others wrote: read, or put aside with a reason; no group stands still, no service dies."""

import random
import re

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import Alert, DeadLetter, Feedback, Request, Result
from broker.streams import Tag
from tests.hostile.conftest import MODEL, Running
from tests.servers import wait_until

TAG = Tag(MODEL)
EVENTS = (Request, Result, Feedback, DeadLetter, Alert)
SAID = re.compile(
    r"\d+ fields, at most 64 are read|a field is not UTF-8|schema_version \d{1,9}, this reader knows 1"
    r"|cannot read: (?P<names>[a-z_, ]+)|"
)
NAMES = sorted({name for event in EVENTS for name in event.model_fields})

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

values = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        (
            b"",
            b"nan",
            b"inf",
            b"-1",
            b"1e400",
            b"9" * 400,
            b"true",
            b"{}",
            b"[]",
            b"null",
            b"[" * 2000,
            b"ok",
            b"live",
            b"1",
        )
    ),
    st.sampled_from((b'{"a":' * 500, b'{"evaluation":{}}', b'{"evaluation":"x"}', b"positive", b"\x00", b"2147483648")),
    st.sampled_from((b"0x10", b"1_000")),
)
names = st.one_of(st.sampled_from(NAMES).map(str.encode), st.binary(min_size=1, max_size=20))
entries = st.dictionaries(names, values, min_size=1, max_size=12)


@given(fields=entries)
@settings(max_examples=400, deadline=None)
@pytest.mark.parametrize("event", EVENTS)
def test_an_entry_is_read_or_refused_without_repeating_it(event, fields):
    said = ""
    try:
        event.from_fields(fields)
    except (MalformedEntryError, NewerSchemaError) as error:
        said = str(error)
    match = SAID.fullmatch(said)
    assert match, said
    assert set((match["names"] or "id").split(", ")) <= {*event.model_fields, "id", "a field of another name"}


@given(fields=entries)
@settings(max_examples=200, deadline=None)
def test_a_request_is_read_or_refused_wherever_it_was_found(fields):
    for text in (fields, fields | {b"text": b"hello"}):
        try:
            request = Request.from_entry(TAG, "1763848800000-0", text)
        except (MalformedEntryError, NewerSchemaError):
            continue
        assert request.id.startswith(f"{MODEL}.0.")


@given(garbage=st.lists(entries, min_size=1, max_size=40))
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_what_others_write_is_answered_or_dead_lettered_and_stops_nobody(running: Running, garbage):
    look = running.look
    for fields in garbage:
        look.xadd(TAG.requests, fields)
        for stream in (TAG.results, TAG.feedback, TAG.alerts, TAG.dead, TAG.explain, TAG.explanations):
            look.xadd(stream, fields)

    def settled() -> bool:
        (group,) = [group for group in look.xinfo_groups(TAG.requests) if group["name"] == b"workers"]
        explained = look.xlen(TAG.explain) == 0
        return explained and group["lag"] == 0 and group["pending"] == _of_newer_schema(running)

    wait_until(settled, "every entry is answered, dead-lettered or left for a newer worker", 20)
    for path in ("/v1/alerts", "/v1/streams", "/v1/models", "/metrics"):
        assert httpx.get(running.gateway.url + path, timeout=10).status_code == 200, path
    body = {"text": "a good film"}
    assert httpx.post(f"{running.gateway.url}/v1/models/{MODEL}/predict", json=body, timeout=10).status_code == 200
    assert running.last_words() == ""


def _of_newer_schema(running: Running) -> int:
    count = 0
    for entry_id, fields in running.look.xrange(TAG.requests):
        try:
            Request.from_entry(TAG, entry_id.decode(), fields)
        except NewerSchemaError:
            count += 1
        except MalformedEntryError:
            continue
    return count


def test_the_monitor_reads_on_behind_garbage(running: Running):
    draw = random.Random(7)
    for _ in range(300):
        fields = {draw.choice(NAMES): draw.randbytes(draw.randint(0, 40)) for _ in range(draw.randint(1, 12))}
        running.look.xadd(draw.choice([TAG.results, TAG.feedback]), fields)
    url = f"{running.gateway.url}/v1/models/{MODEL}/predict"
    assert httpx.post(url, json={"text": "a good film", "true_label": "positive"}, timeout=10).status_code == 200

    def caught_up() -> bool:
        assert running.last_words() == ""
        groups = [*running.look.xinfo_groups(TAG.results), *running.look.xinfo_groups(TAG.feedback)]
        return len(groups) == 2 and all(group["lag"] == 0 for group in groups)

    wait_until(caught_up, "the monitor has read both streams to their end", 30)
    assert httpx.get(f"{running.monitor.url}/healthz", timeout=10).status_code == 200
    report = httpx.get(f"{running.monitor.url}/report/{MODEL}", timeout=10)
    assert report.status_code == 200
    assert httpx.get(f"{running.monitor.url}/metrics", timeout=10).status_code == 200


@pytest.mark.parametrize("value", [b"", b"\xff", b"{}", b"[" * 5000, b'{"worker": 1}', b"null", b"x" * 100_000])
def test_an_announcement_that_nobody_can_read_hides_no_worker(running: Running, value: bytes):
    running.look.hset(f"observa:{{{MODEL}}}:workers", "stranger", value)
    running.look.zadd("observa:served", {b"\xff\xfe-no-model": 1})
    body = {"text": "a good film"}
    assert httpx.post(f"{running.gateway.url}/v1/models/{MODEL}/predict", json=body, timeout=10).status_code == 200
    wait_until(lambda: httpx.get(f"{running.gateway.url}/readyz", timeout=10).status_code == 200, "still ready", 10)
    assert running.last_words() == ""
