"""Explanations at the gateway: asked for once, kept for a while, refused in a word. The explainer is played here."""

import orjson
import pytest

from broker.events import Explained, ExplainRequest
from broker.explanations import MOST_WAITING, Explanations
from broker.forgetting import forget
from broker.streams import EXPLAINERS, PredictionId, Tag

TAG = Tag("sentiment")
DONE = {"status": "done", "label": "positive", "words": [{"text": "CANARY", "weight": 1.0}]}


@pytest.fixture
async def explanations(redis, settings):
    """What an explainer that is there has in its hands."""
    explanations = Explanations(redis, settings)
    await explanations.ensure_group(TAG)
    await explanations.announce(TAG, "test")
    return explanations


async def take(redis) -> tuple[str, ExplainRequest]:
    found = await redis.xreadgroup(EXPLAINERS, "test", {TAG.explain: ">"}, count=1)
    entry_id, fields = found[0][1][0]
    return entry_id.decode(), ExplainRequest.from_fields(fields)


async def finish(redis, explanations) -> bool:
    entry_id, request = await take(redis)
    event = Explained(id=request.id, version=request.version, status="done", label="positive", words=1)
    return await explanations.finish(TAG, entry_id, event, DONE)


async def predicted(client, text="CANARY") -> str:
    return str((await client.post("/predict", json={"text": text})).json()["id"])


async def test_a_prediction_is_explained_by_its_id_once(client, redis, explanations):
    wanted = await predicted(client)
    asked = await client.post("/v1/explanations", json={"id": wanted})
    again = await client.post("/v1/explanations", json={"id": wanted})
    assert [asked.status_code, again.status_code] == [202, 202]
    assert asked.headers["location"] == f"/v1/explanations/{wanted}"
    assert await redis.xlen(TAG.explain) == 1
    await explanations.tell_progress(TAG, wanted, 0.5)
    assert (await client.get(asked.headers["location"])).json()["progress"] == 0.5
    assert 0 < await redis.ttl(TAG.explained(wanted)) <= 900
    assert await finish(redis, explanations)
    found = await client.get(asked.headers["location"])
    assert (found.status_code, found.json()) == (200, {"id": wanted, **DONE})
    assert (await client.post("/v1/explanations", json={"id": wanted})).json() == found.json()


async def test_of_two_explainers_that_had_the_same_text_the_first_publishes(client, redis, explanations):
    await client.post("/v1/explanations", json={"text": "CANARY"})
    entry_id, request = await take(redis)
    event = Explained(id=request.id, version=request.version, status="done", label="positive", words=1)
    assert [await explanations.finish(TAG, entry_id, event, DONE) for _ in range(2)] == [True, False]
    assert await redis.xlen(TAG.explanations) == 1


async def test_the_text_is_gone_with_the_work_and_no_stream_keeps_a_word(client, redis, explanations):
    await client.post("/v1/explanations", json={"text": "CANARY"})
    assert 0 < await redis.ttl(TAG.explain) <= 900
    await finish(redis, explanations)
    assert await redis.xlen(TAG.explain) == 0
    (kept,) = await redis.xrange(TAG.explanations)
    assert b"CANARY" not in b"".join(kept[1].values())
    (key,) = [key async for key in redis.scan_iter(match=TAG.explained("*"))]
    assert 0 < await redis.ttl(key) <= 900


async def test_without_an_explainer_nothing_is_accepted(client, redis):
    answer = await client.post("/v1/explanations", json={"text": "a"})
    assert (answer.status_code, answer.json()["code"]) == (503, "explainer_unavailable")
    assert not await redis.exists(TAG.explain)


async def test_past_what_may_wait_it_is_refused(client, explanations):
    assert explanations
    answers = [await client.post("/v1/explanations", json={"text": "a"}) for _ in range(MOST_WAITING + 1)]
    assert [answer.status_code for answer in answers] == [202] * MOST_WAITING + [503]


async def test_a_text_that_is_not_kept_is_refused_by_id_and_taken_when_sent(client, redis, explanations):
    assert explanations
    wanted = await predicted(client)
    await redis.xtrim(TAG.requests, maxlen=0)
    refused = await client.post("/v1/explanations", json={"id": wanted})
    assert (refused.status_code, refused.json()["code"]) == (410, "text_not_kept")
    assert (await client.post("/v1/explanations", json={"text": "CANARY"})).status_code == 202


async def test_what_failed_is_told_and_may_be_asked_again(client, redis, explanations):
    wanted = await predicted(client)
    await client.post("/v1/explanations", json={"id": wanted})
    entry_id, request = await take(redis)
    event = Explained(id=wanted, version=request.version, status="failed", code="version_unavailable")
    await explanations.finish(TAG, entry_id, event, {"status": "failed", "code": "version_unavailable"})
    assert (await client.get(f"/v1/explanations/{wanted}")).json()["code"] == "version_unavailable"
    assert (await client.post("/v1/explanations", json={"id": wanted})).json()["status"] == "pending"
    assert await finish(redis, explanations)
    assert (await client.get(f"/v1/explanations/{wanted}")).json()["status"] == "done"


async def test_what_was_forgotten_meanwhile_is_not_published(client, redis, explanations):
    wanted = await predicted(client)
    await client.post("/v1/explanations", json={"id": wanted})
    entry_id, request = await take(redis)
    forgotten = await forget(redis, [TAG], {wanted}, wait_s=5, now=True)
    assert forgotten.erased["explanations"] == 2
    event = Explained(id=wanted, version=request.version, status="done")
    assert not await explanations.finish(TAG, entry_id, event, DONE)
    assert await explanations.find(PredictionId.parse(wanted)) is None
    assert await redis.xlen(TAG.explanations) == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"id": "sentiment.0.x", "text": "a"}, "missing_field"),
        ({"id": "nonsense"}, "not_found"),
        ({"text": " "}, "blank_text"),
        ({"text": "a", "model": "nobody"}, "model_not_found"),
        ({"text": "a", "version": "9"}, "version_not_loaded"),
        ({"id": "sentiment.0.x", "model": "sentiment"}, "invalid_value"),
    ],
)
async def test_a_wrong_question_is_refused_in_a_word(client, explanations, body, code):
    assert explanations
    assert (await client.post("/v1/explanations", json=body)).json()["code"] == code


async def test_a_stream_is_shown_with_its_readers_and_without_texts(client):
    await predicted(client)
    shown = (await client.get("/v1/streams/sentiment/requests?count=5")).json()
    (entry,) = shown["entries"]
    assert entry["fields"]["text_bytes"] == len("CANARY")
    assert "CANARY" not in orjson.dumps(shown).decode()
    (group,) = shown["groups"]
    assert (group["group"], group["consumers"][0]["pending"]) == ("workers", 0)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("sentiment/replies", 404),
        ("nobody/requests", 404),
        ("sentiment/requests?count=-1", 422),
        ("sentiment.0/results", 200),
    ],
)
async def test_a_stream_that_is_not_for_looking_is_not_there(client, path, status):
    assert (await client.get(f"/v1/streams/{path}")).status_code == status
