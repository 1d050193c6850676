"""What a caller asked for is his: another caller's id is answered as one that nobody knows."""

from contextlib import AsyncExitStack

import httpx
import orjson
import pytest

from broker.access import create_key
from broker.events import Explained, Feedback, Request, Result
from broker.explanations import Explanations
from broker.log import Log
from broker.settlement import DeadNote, Settlement
from broker.streams import EXPLAINERS, WORKERS, PredictionId, Tag, entry_time_ms
from tests.gateway.stack import running_stack, tensor
from tests.servers import eventually

TAG = Tag("sentiment")
DONE = {"status": "done", "label": "positive", "words": [{"text": "joy", "weight": 1.0}]}


class Callers:
    """A gateway that asks for keys, and clients with keys: Anna's two, Bert's, and one that may do everything."""

    def __init__(self, gateway, worker, clients, keys):
        self.gateway, self.worker, self.keys = gateway, worker, keys
        self.anna, self.anna_later, self.bert, self.root = clients


@pytest.fixture
async def callers(redis, gateway_settings):
    scopes = ["predict", "feedback"]
    made = [await create_key(redis, name, scopes, None) for name in ("anna", "anna", "bert")]
    made.append(await create_key(redis, "root", [*scopes, "admin"], None))
    async with AsyncExitStack() as stack:
        gateway, worker = await stack.enter_async_context(running_stack(gateway_settings(gateway_auth="keys")))
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=gateway.url, headers={"Authorization": f"Bearer {shown}"}, timeout=20)
            )
            for _, shown in made
        ]
        yield Callers(gateway, worker, clients, [key.id for key, _ in made])


def unknown():
    return str(PredictionId.new(TAG))


async def predicted(client, **more):
    return str((await client.post("/predict", json={"text": "a joy"}, **more)).json()["id"])


async def pending(callers):
    callers.worker.holding.clear()
    return await predicted(callers.anna, headers={"Prefer": "respond-async"})


def told(answer, prediction_id):
    """All that an answer says but the time and the id that it was asked with."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status_code, answer.text.replace(prediction_id, "ID"), sorted(headers.items())


async def asked(client, prediction_id):
    """What every route that takes an id says of it."""
    label = {"id": prediction_id, "label": "negative"}
    return [
        told(answer, prediction_id)
        for answer in (
            await client.get(f"/v1/predictions/{prediction_id}"),
            await client.post("/feedback", json=label),
            await client.post("/v1/explanations", json={"id": prediction_id}),
            await client.get(f"/v1/explanations/{prediction_id}"),
        )
    ]


async def test_another_callers_prediction_is_unknown_to_every_route_and_stays_as_it_is(callers, redis):
    mine = await predicted(callers.anna)
    theirs = await asked(callers.bert, mine)
    assert theirs == await asked(callers.bert, unknown())
    assert [status for status, _, _ in theirs] == [404, 404, 410, 404]
    assert await redis.xlen(TAG.feedback) == 0
    assert (await callers.anna.get(f"/v1/predictions/{mine}")).json()["label"] == "positive"
    assert (await callers.anna.post("/feedback", json={"id": mine, "label": "negative"})).json()["status"] == "accepted"
    assert (await callers.bert.post("/feedback", json={"id": mine, "label": "negative"})).status_code == 404


async def test_another_callers_failed_prediction_is_unknown_too(callers):
    callers.worker.errors["a joy"] = "inference_failed"
    mine = (await callers.anna.post("/predict", json={"text": "a joy"})).json()["id"]
    assert (await callers.anna.get(f"/v1/predictions/{mine}")).status_code == 502
    assert await asked(callers.bert, mine) == await asked(callers.bert, unknown())


async def test_a_pending_prediction_is_its_callers_alone_and_a_label_is_parked_by_no_other(callers, redis):
    mine = await pending(callers)
    assert await asked(callers.bert, mine) == await asked(callers.bert, unknown())
    assert (await callers.anna.get(f"/v1/predictions/{mine}")).status_code == 202
    assert (await callers.anna.post("/feedback", json={"id": mine, "label": "negative"})).json()["status"] == "parked"
    for label in ("negative", "positive"):  # neither the same nor another tells that one is parked
        assert (await callers.bert.post("/feedback", json={"id": mine, "label": label})).status_code == 404
    callers.worker.holding.set()
    await eventually(lambda: redis.xlen(TAG.feedback), "the parked label is joined")
    assert (await callers.bert.post("/feedback", json={"id": mine, "label": "negative"})).status_code == 404


async def test_a_label_parked_for_a_prediction_that_failed_is_told_to_no_other(callers, redis):
    callers.worker.errors["a joy"] = "inference_failed"
    mine = await pending(callers)
    label = {"id": mine, "label": "negative"}
    assert (await callers.anna.post("/feedback", json=label)).json()["status"] == "parked"
    callers.worker.holding.set()
    await eventually(lambda: redis.xlen(TAG.results), "it has failed")
    await redis.delete(PredictionId.parse(mine).answers_key)  # it was long ago
    assert await asked(callers.bert, mine) == await asked(callers.bert, unknown())


async def test_a_callers_other_key_and_an_admin_reach_it(callers, redis):
    mine = await predicted(callers.anna)
    for client, label in ((callers.anna_later, "negative"), (callers.root, "positive")):
        assert (await client.get(f"/v1/predictions/{mine}")).status_code == 200
        assert (await client.post("/feedback", json={"id": mine, "label": label})).status_code == 202
    assert await redis.xlen(TAG.feedback) == 2


async def test_labels_find_their_caller_when_the_answer_is_gone(callers, redis):
    mine = await predicted(callers.anna)
    await redis.delete(PredictionId.parse(mine).answers_key)
    label = {"id": mine, "label": "negative"}
    assert (await callers.bert.post("/feedback", json=label)).status_code == 404
    assert (await callers.anna.post("/feedback", json=label)).json()["status"] == "accepted"
    [(entry_id, fields)] = await redis.xrange(TAG.feedback)
    judged = Feedback.from_fields(fields)
    assert (judged.id, judged.predicted, judged.tags) == (mine, "positive", {})
    assert 0 <= entry_time_ms(entry_id.decode()) - judged.made_ms < 60_000


@pytest.mark.parametrize("path", ["/predict", "/v2/models/sentiment/infer"])
async def test_each_text_of_a_batch_is_its_callers(callers, path):
    body = {"texts": ["a", "b"]} if path == "/predict" else tensor("a", "b")
    ids = (await callers.anna.post(path, json=body, headers={"Prefer": "respond-async"})).json()["ids"]

    async def all_answered():
        return [(await callers.anna.get(f"/v1/predictions/{mine}")).status_code for mine in ids] == [200, 200]

    await eventually(all_answered, "both are answered")
    for mine in ids:
        assert await asked(callers.bert, mine) == await asked(callers.bert, unknown())


async def test_another_callers_idempotency_key_gives_another_record(callers):
    same = {"Idempotency-Key": "order-1"}
    mine, theirs = await predicted(callers.anna, headers=same), await predicted(callers.bert, headers=same)
    assert mine != theirs
    assert await predicted(callers.anna_later, headers=same) == mine
    assert (await callers.bert.get(f"/v1/predictions/{mine}")).status_code == 404


async def test_requests_and_results_name_the_key_and_never_its_secret(callers, redis):
    await predicted(callers.anna)
    [(_, asked_for)], [(_, found)] = await redis.xrange(TAG.requests), await redis.xrange(TAG.results)
    assert Request.from_fields(asked_for).key == Result.from_fields(found).key == callers.keys[0]
    secret = callers.anna.headers["Authorization"].partition(".")[2]
    assert secret not in repr((asked_for, found))
    kept = repr(
        [await redis.hgetall(key) async for key in redis.scan_iter(match="observa:{sentiment}:*", _type="hash")]
    )
    assert callers.keys[0] in kept
    assert secret not in kept


async def test_without_keys_the_field_says_so_and_everybody_reaches_everything(client, redis):
    mine = await predicted(client)
    [(_, asked_for)], [(_, found)] = await redis.xrange(TAG.requests), await redis.xrange(TAG.results)
    assert asked_for[b"key"] == found[b"key"] == b"-"
    assert (await client.get(f"/v1/predictions/{mine}")).status_code == 200
    assert (await client.post("/feedback", json={"id": mine, "label": "negative"})).status_code == 202
    row = orjson.loads(await redis.hget(PredictionId.parse(mine).joins_key, PredictionId.parse(mine).uuid))
    assert (row[:4], len(row)) == (["positive", "0.7500", "1", "negative"], 6)


async def test_what_no_key_asked_for_is_nobodys_secret(callers, redis):
    entry_id = (await redis.xadd(TAG.requests, {"text": "by hand"})).decode()
    by_hand = PredictionId.of_entry(TAG, entry_id)
    before = PredictionId.new(TAG)  # answered before records had owners
    await redis.hset(before.joins_key, before.uuid, orjson.dumps(["positive", "0.7500", "1", "", '{"a":"b"}']))
    await eventually(lambda: redis.hexists(by_hand.joins_key, by_hand.uuid), "it is answered")
    assert (await callers.bert.get(f"/v1/predictions/{by_hand}")).status_code == 200
    for each in (by_hand, before):
        assert (await callers.bert.post("/feedback", json={"id": str(each), "label": "negative"})).status_code == 202


async def test_an_explanation_belongs_to_whom_the_prediction_does_or_who_sent_the_text(callers, redis, settings):
    explanations = Explanations(redis, settings)
    await explanations.ensure_group(TAG)
    await explanations.announce(TAG, "test")
    mine = await predicted(callers.anna)
    by_root = await callers.root.post("/v1/explanations", json={"id": mine})
    of_text = await callers.anna.post("/v1/explanations", json={"text": "a joy"})
    assert (by_root.status_code, of_text.status_code) == (202, 202)
    ids = [mine, of_text.json()["id"]]

    async def statuses(client):
        return [(await client.get(f"/v1/explanations/{each}")).status_code for each in ids]

    await explanations.tell_progress(TAG, mine, 0.5)
    assert (await statuses(callers.anna), await statuses(callers.bert)) == ([202, 202], [404, 404])
    found = await redis.xreadgroup(EXPLAINERS, "test", {TAG.explain: ">"}, count=2)
    for entry_id, fields in found[0][1]:
        event = Explained(id=fields[b"id"].decode(), version="1", status="done", label="positive", words=1)
        await explanations.finish(TAG, entry_id.decode(), event, DONE)
    assert (await statuses(callers.anna), await statuses(callers.bert)) == ([200, 200], [404, 404])
    assert (await callers.anna.get(f"/v1/explanations/{mine}")).json() == {"id": mine, **DONE}
    again = await callers.bert.post("/v1/explanations", json={"id": mine})
    assert told(again, mine) == told(await callers.bert.post("/v1/explanations", json={"id": (it := unknown())}), it)


async def test_a_dead_letter_that_is_sent_again_is_still_its_callers(callers, redis, settings):
    mine = await pending(callers)
    await eventually(lambda: redis.xlen(TAG.requests), "it is on the log")
    [(entry_id, fields)] = await redis.xrange(TAG.requests)
    request = Request.from_fields(fields)
    result = Result(
        id=mine, version="1", status="error", code="inference_failed", queue_ms=0, worker="w", key=request.key
    )

    async def is_delivered():
        return (await redis.xpending(TAG.requests, WORKERS))["pending"] == 1

    await eventually(is_delivered, "a worker has it")
    note = DeadNote("inference_failed", "1 raised ValueError", 1, "w")
    failed = Settlement(entry_id.decode(), request, result, b'{"id":"x","error":{"code":"inference_failed"}}', note)
    assert await Log(redis, settings).settle(TAG, [failed]) == [True]
    await redis.delete(PredictionId.parse(mine).answers_key)  # it was long ago
    [(dead_id, _)] = await redis.xrange(TAG.dead)
    assert (await callers.root.post(f"/v1/dead/{dead_id.decode()}/redrive", json={})).status_code == 202
    assert await asked(callers.bert, mine) == await asked(callers.bert, unknown())
    assert (await callers.anna.get(f"/v1/predictions/{mine}")).status_code == 202
