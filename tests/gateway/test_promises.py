"""Idempotency, asking later, feedback, admission."""

import asyncio
import re
import time
from typing import Any
from uuid import UUID

import pytest

from broker.announcements import Announcement, ServedVersion, announce
from broker.streams import PredictionId, Tag, workers_key
from tests.gateway.stack import EchoWorker, entries, running_gateway, running_stack, running_worker
from tests.servers import eventually

SENTIMENT = Tag("sentiment")
ASYNC = {"prefer": "respond-async"}


async def test_fifty_calls_with_one_key_are_one_request(client, redis):
    call: dict[str, Any] = {"json": {"text": "a"}, "headers": {"idempotency-key": "k"}}
    answers = await asyncio.gather(*(client.post("/predict", **call) for _ in range(50)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    assert await entries(redis, SENTIMENT) == 1


async def test_a_key_gives_the_first_answer_at_another_gateway(stack, gateway_settings, redis):
    call: dict[str, Any] = {"json": {"text": "a"}, "headers": {"idempotency-key": "k"}}
    first = await stack[0].client.post("/predict", **call)
    async with running_gateway(gateway_settings()) as other:
        second = await other.client.post("/v1/models/sentiment/predict", **call)
    assert first.content == second.content
    assert await entries(redis, SENTIMENT) == 1


@pytest.mark.parametrize(
    "other",
    [{"text": "b"}, {"text": "a", "threshold": 0.5}, {"texts": ["a"]}, {"text": "a", "true_label": "negative"}],
)
async def test_a_key_used_for_another_request_is_a_conflict(client, other):
    headers = {"idempotency-key": "k"}
    await client.post("/predict", json={"text": "a"}, headers=headers)
    answer = await client.post("/predict", json=other, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")


async def test_the_same_meaning_in_other_words_is_the_same_request(client, redis):
    headers = {"idempotency-key": "k", "content-type": "application/json"}
    one = await client.post("/predict", content=b'{"text": "a", "tags": {"x": "1", "y": "2"}}', headers=headers)
    two = b'{"tags":{"y":"2","x":"1"},"truncate":true,"model":"sentiment","text":"\\u0061"}'
    assert (await client.post("/predict", content=two, headers=headers)).content == one.content
    assert await entries(redis, SENTIMENT) == 1


async def test_a_key_for_several_texts_gives_all_first_answers(client, redis):
    call: dict[str, Any] = {"json": {"texts": ["a", "b"]}, "headers": {"idempotency-key": "k"}}
    first, second = await client.post("/predict", **call), await client.post("/predict", **call)
    assert first.content == second.content
    assert await entries(redis, SENTIMENT) == 2


async def test_who_does_not_wait_asks_later(client, worker):
    worker.holding.clear()
    accepted = await client.post("/predict", json={"text": "a"}, headers=ASYNC)
    assert accepted.status_code == 202
    where = accepted.headers["location"]
    pending = await client.get(where)
    assert (pending.status_code, pending.json()["status"]) == (202, "pending")
    worker.holding.set()

    async def answered() -> bool:
        return bool((await client.get(where)).status_code == 200)

    await eventually(answered, "the prediction is there")
    assert worker.seen[0].reply_to is None
    assert worker.seen[0].deadline_ms == 900_000


async def test_what_is_past_its_deadline_is_not_called_pending_while_no_worker_is_there(gateway_settings):
    async with running_gateway(gateway_settings(claim_ms=200)) as gateway:
        late = await gateway.client.post("/predict", json={"text": "a"}, headers=ASYNC | {"x-deadline-ms": "1"})
        early = await gateway.client.post("/predict", json={"text": "a"}, headers=ASYNC)
        assert (late.status_code, early.status_code) == (202, 202)

        async def told() -> bool:
            answer = await gateway.client.get(late.headers["location"])
            return bool((answer.status_code, answer.json().get("code")) == (504, "deadline_exceeded"))

        await eventually(told, "the deadline is past")
        assert (await gateway.client.get(early.headers["location"])).status_code == 202


async def test_several_that_nobody_waits_for_give_their_ids(client, worker):
    accepted = await client.post("/predict", json={"texts": ["a", "b"]}, headers={"prefer": "wait=1, respond-async"})
    await eventually(lambda: _is(len(worker.seen) == 2), "both are read")
    assert (accepted.status_code, accepted.json()) == (202, {"ids": [request.id for request in worker.seen]})


async def test_an_unknown_id_is_404_when_young_and_410_when_old(client):
    young = str(PredictionId.new(SENTIMENT))
    uuid = UUID(int=(int(time.time() * 1000) - 3_600_000) << 80 | 7 << 76 | 2 << 62)
    old = str(PredictionId(SENTIMENT, str(uuid)))
    assert (await client.get(f"/v1/predictions/{young}")).status_code == 404
    assert (await client.get(f"/v1/predictions/{old}")).status_code == 410


async def test_feedback_is_counted_once_and_may_be_corrected(client, redis):
    wanted = (await client.post("/predict", json={"text": "a"})).json()["id"]
    outcomes = []
    for label in ("negative", "negative", "positive"):
        answer = await client.post("/feedback", json={"id": wanted, "label": label})
        outcomes.append((answer.status_code, answer.json()["status"]))
    assert outcomes == [(202, "accepted"), (200, "same"), (202, "replaced")]
    found = [fields for _, fields in await redis.xrange(SENTIMENT.feedback)]
    assert [fields.get(b"previous_label") for fields in found] == [None, b"negative"]


async def test_feedback_before_the_result_waits_for_it(client, worker, redis):
    worker.holding.clear()
    wanted = (await client.post("/predict", json={"text": "a"}, headers=ASYNC)).json()["id"]
    parked = await client.post("/feedback", json={"id": wanted, "label": "negative"})
    assert (parked.status_code, parked.json()["status"]) == (202, "parked")
    worker.holding.set()
    await eventually(lambda: redis.xlen(SENTIMENT.feedback), "the label is joined")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"id": str(PredictionId.new(SENTIMENT)), "label": "positive"}, 404, "not_found"),
        ({"id": str(PredictionId.new(Tag("never"))), "label": "positive"}, 404, "not_found"),
        ({"id": "sentiment.0.01890a5d-ac96-774b-bcce-b302099a8057", "label": "positive"}, 410, "expired"),
        ({"id": "garbage", "label": "positive"}, 404, "not_found"),
        ({"id": str(PredictionId.new(SENTIMENT)), "label": "c4n4ry"}, 422, "bad_label"),
        ({"id": str(PredictionId.new(SENTIMENT)), "label": ""}, 422, "too_short"),
        ({"id": 1, "label": "positive"}, 422, "wrong_type"),
        ({"label": "positive"}, 422, "missing_field"),
    ],
)
async def test_feedback_that_cannot_be_right_is_refused(client, body, status, code):
    answer = await client.post("/feedback", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "c4n4ry" not in answer.text


async def test_a_label_of_a_version_that_was_served_before_is_still_one(gateway, redis):
    wanted = (await gateway.client.post("/predict", json={"text": "a"})).json()["id"]
    seconds, _ = await redis.time()
    served = ServedVersion(labels=("mixed", "pure"), max_length=128, digest="0" * 64, target_accuracy=0.8, metrics={})
    older = Announcement(worker="older", live="0", versions={"0": served}, texts_per_second=1, seen_ms=seconds * 1000)
    await announce(redis, "sentiment", older)
    fleet = gateway.app.state.gateway.fleet

    async def served_by(workers):
        return [view.workers for view in fleet.models] == [workers]

    await eventually(lambda: served_by(2), "the older worker is known")
    await redis.hdel(workers_key("sentiment"), "older")
    await eventually(lambda: served_by(1), "it is gone")
    answer = await gateway.client.post("/feedback", json={"id": wanted, "label": "mixed"})
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")


async def test_an_early_message_is_served_by_the_first_worker(gateway_settings):
    async with running_gateway(gateway_settings()) as gateway:
        sync = await gateway.client.post("/predict", json={"text": "a"})
        early = await gateway.client.post("/predict", json={"text": "a"}, headers=ASYNC)
        assert (sync.status_code, sync.json()["code"]) == (503, "model_unavailable")
        assert early.status_code == 202
        assert (await gateway.client.get("/readyz")).status_code == 503
        async with running_worker(EchoWorker(gateway_settings())):

            async def answered() -> bool:
                return bool((await gateway.client.get(early.headers["location"])).status_code == 200)

            await eventually(answered, "the early message is answered")


async def test_a_model_whose_workers_have_left_is_unavailable(client, worker):
    worker.leaving = True

    async def unavailable() -> bool:
        answer = await client.post("/predict", json={"text": "a"})
        return bool((answer.status_code, answer.json().get("code")) == (503, "model_unavailable"))

    await eventually(unavailable, "the gateway knows that the worker leaves", 5)
    assert (await client.get("/readyz")).status_code == 503


async def test_several_texts_are_accepted_all_or_none(client, worker, redis):
    worker.texts_per_second = 1.0  # the floor of 256 holds
    worker.holding.clear()
    for _ in range(4):
        assert (await client.post("/predict", json={"texts": ["a"] * 62}, headers=_hurry())).status_code == 202
    refused = await client.post("/predict", json={"texts": ["a"] * 62}, headers=_hurry())
    worker.holding.set()
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert await entries(redis, SENTIMENT) == 4 * 62


async def test_more_open_texts_than_the_bound_are_refused(gateway_settings, redis):
    async with running_stack(gateway_settings(gateway_max_open_texts=3)) as (gateway, worker):
        worker.holding.clear()
        waiting = asyncio.create_task(gateway.client.post("/predict", json={"texts": ["a", "b"]}))
        await eventually(lambda: entries(redis, SENTIMENT), "two are open")
        refused = await gateway.client.post("/predict", json={"texts": ["c", "d"]})
        worker.holding.set()
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert (await waiting).status_code == 200


async def test_a_redis_that_is_nearly_full_takes_nothing_more(client, redis):
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used / 0.75))
    try:

        async def refused() -> bool:
            return bool((await client.post("/predict", json={"text": "a"})).status_code == 503)

        await eventually(refused, "the gateway has seen it", 5)
        assert (await client.post("/predict", json={"text": "a"})).json()["code"] == "overloaded"
        numbers = (await client.get("/metrics")).text
        ratio = re.search(r"^observa_gateway_broker_memory_ratio (\S+)$", numbers, re.MULTILINE)
        assert 0.7 <= float(ratio[1]) <= 1, "what the alert BrokerFull goes by"
    finally:
        await redis.config_set("maxmemory", 0)


def _hurry() -> dict[str, str]:
    return {**ASYNC, "x-deadline-ms": "100"}


async def _is(value: object) -> bool:
    return bool(value)
