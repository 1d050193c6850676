"""What a caller gets for a text."""

import asyncio
import subprocess

from broker.events import Request
from broker.log import Unit
from broker.manifest import Canary, Pointer
from broker.streams import PredictionId, Tag, versions_key
from broker.versions import mirror
from tests.gateway.stack import EchoWorker, running_gateway, running_worker
from tests.servers import eventually


async def test_the_answer_is_what_the_worker_stored(client, redis):
    answer = await client.post("/predict", json={"text": "fine"})
    assert answer.status_code == 200
    wanted = PredictionId.parse(answer.json()["id"])
    assert await redis.hget(wanted.answers_key, str(wanted)) == answer.content


async def test_the_command_of_the_readme_works(gateway):
    command = [
        *("curl", "-s", "-X", "POST", f"{gateway.url}/predict", "-H", "Content-Type: application/json"),
        *("-d", '{"text": "The movie was amazing!", "true_sentiment": "positive"}'),
    ]
    answer = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
    assert b'"label":"positive"' in answer.stdout


async def test_options_reach_the_worker(client, worker):
    body = {"text": "a", "threshold": 0.5, "tags": {"run": "x"}, "subject": "s", "truncate": False}
    traceparent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    headers = {"x-deadline-ms": "1234", "traceparent": traceparent}
    await client.post("/predict", json=body | {"true_label": "negative"}, headers=headers)
    (request,) = worker.seen
    assert request.model_dump(exclude={"id", "reply_to", "schema_version"}) == {
        **body,
        "version": "1",
        "pinned": False,
        "deadline_ms": 1234,
        "true_label": "negative",
        "traceparent": traceparent,
        "key": "-",
    }


async def test_several_texts_are_answered_in_order(client, worker):
    worker.errors["b"] = "inference_failed"
    answer = await client.post("/predict", json={"texts": ["a", "b", "c"], "true_label": [None, "negative", None]})
    first, second, third = answer.json()["predictions"]
    assert answer.status_code == 200
    assert [request.id for request in worker.seen] == [first["id"], second["id"], third["id"]]
    assert [request.true_label for request in worker.seen] == [None, "negative", None]
    assert second["error"] == {"code": "inference_failed", "status": 502}
    assert first["label"] == third["label"] == "positive"


async def test_partial_answers_the_good_items_and_says_of_the_others_in_their_places_what_is_wrong(client, worker):
    body = {"texts": [" ", "a", "b", 5, "c"], "true_sentiment": [None, "negative", "unheard-of", None, ""]}
    assert (await client.post("/predict", json=body)).status_code == 422
    assert not worker.seen
    answer = await client.post("/predict", json=body | {"partial": True})
    assert answer.status_code == 207
    assert "retry-after" not in answer.headers
    blank, good, label, number, empty = answer.json()["predictions"]
    assert good["label"] == "positive"
    assert [(request.text, request.true_label) for request in worker.seen] == [("a", "negative")]
    assert [item["error"] for item in (blank, label, number, empty)] == [
        {"pointer": "/texts/0", "code": "blank_text", "status": 422},
        {"pointer": "/true_sentiment/2", "code": "bad_label", "status": 422},
        {"pointer": "/texts/3", "code": "wrong_type", "status": 422},
        {"pointer": "/true_sentiment/4", "code": "too_short", "min": 1, "status": 422},
    ]
    assert {item["id"] for item in (blank, label, number, empty)} == {None}


async def test_partial_changes_nothing_where_all_is_well_and_is_for_callers_who_wait(client):
    body = {"texts": ["a", "b"], "partial": True}
    answer = await client.post("/predict", json=body)
    assert (answer.status_code, len(answer.json()["predictions"])) == (200, 2)
    answer = await client.post("/predict", json=body, headers={"prefer": "respond-async"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/partial")


async def test_a_named_version_is_pinned_and_the_wanted_one_is_stamped(gateway_settings, redis):
    async with running_worker(EchoWorker(gateway_settings(), versions=("1", "2"))) as worker:
        await eventually(lambda: redis.exists("observa:served"), "the worker is announced")
        await redis.hset(versions_key("sentiment"), "live", "2")
        async with running_gateway(gateway_settings()) as gateway:
            await gateway.client.post("/predict", json={"text": "a"})
            await gateway.client.post("/v1/models/sentiment/versions/1/predict", json={"text": "b"})
            missing = await gateway.client.post("/v1/models/sentiment/versions/3/predict", json={"text": "c"})
    assert [(request.version, request.pinned) for request in worker.seen] == [("2", False), ("1", True)]
    assert missing.json()["code"] == "version_not_loaded"


async def test_a_shadow_answers_who_names_it_and_is_never_stamped(gateway_settings, redis):
    worker = EchoWorker(gateway_settings(), versions=("1",))
    worker.shadows = ("2",)
    async with running_worker(worker):
        await eventually(lambda: redis.exists("observa:served"), "the worker is announced")
        canary = Canary(version="2", share=0.999)  # it is about to be one, and no worker has it as that
        await mirror(redis, "sentiment", Pointer(version="1", generation=2, shadows={"2": 1.0}, canary=canary))
        async with running_gateway(gateway_settings()) as gateway:
            await gateway.client.post("/predict", json={"text": "a"})
            pinned = await gateway.client.post("/v1/models/sentiment/versions/2/predict", json={"text": "b"})
    assert [(request.version, request.pinned) for request in worker.seen] == [("1", False), ("2", True)]
    assert (pinned.status_code, pinned.json()["version"]) == (200, "2")


async def test_a_wanted_version_that_no_worker_has_yet_fails_nobody(gateway_settings, redis):
    async with running_worker(EchoWorker(gateway_settings())) as worker:
        await eventually(lambda: redis.exists("observa:served"), "the worker is announced")
        await mirror(redis, "sentiment", Pointer(version="2", generation=2, previous="1"))
        async with running_gateway(gateway_settings()) as gateway:
            answer = await gateway.client.post("/predict", json={"text": "a"})
            pinned = await gateway.client.post("/v1/models/sentiment/versions/2/predict", json={"text": "b"})
            shown = (await gateway.client.get("/v1/models/sentiment")).json()
            worker.versions = ("2",)
            await worker.announce()
            await eventually(lambda: _is_live(gateway.client, "2"), "the gateway knows that it is there")
    assert (answer.status_code, pinned.json()["code"]) == (200, "version_not_loaded")
    assert [request.version for request in worker.seen] == ["1"]
    assert (shown["live"], shown["wanted"], shown["previous"], shown["generation"]) == ("1", "2", "1", 2)


async def _is_live(client, version):
    return (await client.get("/v1/models/sentiment")).json()["live"] == version


async def test_a_model_in_path_and_body_must_be_the_same(client):
    same = await client.post("/v1/models/sentiment/predict", json={"text": "a", "model": "sentiment"})
    other = await client.post("/v1/models/sentiment/predict", json={"text": "a", "model": "topics"})
    assert (same.status_code, other.status_code) == (200, 422)


async def test_a_model_announced_a_moment_ago_is_found(client, gateway_settings, redis):
    async with running_worker(EchoWorker(gateway_settings(), "topics")):
        await eventually(lambda: redis.zscore("observa:served", "topics"), "the other worker is announced")

        async def answers() -> bool:
            return bool((await client.post("/predict", json={"text": "a", "model": "topics"})).status_code == 200)

        await eventually(answers, "the other model answers", 5)


async def test_what_went_wrong_in_a_worker_has_its_status_and_the_id(client, worker):
    statuses = {
        "inference_failed": 502,
        "deadline_exceeded": 504,
        "version_unavailable": 404,
        "too_many_tokens": 422,
    }
    for code, status in statuses.items():
        worker.errors[code] = code
        answer = await client.post("/predict", json={"text": code})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["id"] == worker.seen[-1].id
        again = await client.get(f"/v1/predictions/{answer.json()['id']}")
        assert again.content == answer.content


async def test_an_answer_that_is_late_can_be_fetched_later(client, worker):
    worker.holding.clear()
    answer = await client.post("/predict", json={"text": "a"}, headers={"x-deadline-ms": "100"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert answer.headers["location"] == answer.json()["result_url"]
    worker.holding.set()

    async def fetched() -> bool:
        return bool((await client.get(answer.json()["result_url"])).status_code == 200)

    await eventually(fetched, "the late answer is stored")


async def test_of_several_only_the_late_ones_are_late(client, worker):
    worker.holding.clear()
    answer = await client.post("/predict", json={"texts": ["a", "b"]}, headers={"x-deadline-ms": "100"})
    worker.holding.set()
    assert answer.status_code == 200
    assert [item["error"] for item in answer.json()["predictions"]] == [
        {"code": "deadline_exceeded", "status": 504}
    ] * 2


async def test_callers_who_wait_together_each_get_their_own_answer(client, worker):
    answers = await asyncio.gather(*(client.post("/predict", json={"text": str(n)}) for n in range(200)))
    texts = {request.id: request.text for request in worker.seen}
    assert [texts[answer.json()["id"]] for answer in answers] == [str(n) for n in range(200)]


async def test_cancelled_callers_neither_hold_places_nor_take_answers(gateway, worker):
    worker.holding.clear()
    calls = [asyncio.create_task(gateway.client.post("/predict", json={"text": str(n)})) for n in range(40)]
    await eventually(lambda: _is(worker.seen), "something is held")
    for call in calls[::2]:
        call.cancel()
    serving = gateway.app.state.gateway.serving
    await eventually(lambda: _is(serving._open_texts <= 20), "their places are free", 5)
    worker.holding.set()
    answers = await asyncio.gather(*calls[1::2])
    texts = {request.id: request.text for request in worker.seen}
    assert [texts[answer.json()["id"]] for answer in answers] == [str(n) for n in range(1, 40, 2)]
    assert serving._open_texts == 0


async def test_the_text_of_a_caller_who_left_before_it_was_sent_goes_on_no_log(gateway, redis, monkeypatch):
    tag, may_send = Tag("sentiment"), asyncio.Event()
    accepting = gateway.app.state.gateway.serving._accepting
    accept = accepting._log.accept

    async def held_up(*arguments, **limits):
        await may_send.wait()
        return await accept(*arguments, **limits)

    monkeypatch.setattr(accepting._log, "accept", held_up)
    calls = []
    for text in ("first", "second", "third"):
        unit = Unit((Request(id=str(PredictionId.new(tag)), text=text),))
        calls.append(asyncio.create_task(accepting.accept(tag, unit, 100)))
        await asyncio.sleep(0)  # the first is sent, the others wait for the next call
        await asyncio.sleep(0)
    calls[1].cancel()
    may_send.set()
    await asyncio.gather(calls[0], calls[2])
    assert [fields[b"text"] for _, fields in await redis.xrange(tag.requests)] == [b"first", b"third"]


async def _is(value: object) -> bool:
    return bool(value)
