"""The tour: what Observa is, in the order in which a newcomer meets it."""

import pytest
from redis import Redis

from broker.streams import Tag
from tests.servers import wait_until

TAG = Tag("sentiment")
FILM = {"text": "The movie was amazing!"}

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def test_a_text_gets_an_answer_now(gateway):
    answer = gateway.post("/predict", json=FILM).json()
    assert answer["label"] == "positive"
    assert list(answer["probabilities"]) == ["negative", "positive"]
    assert answer["probabilities"]["positive"] == answer["confidence"] > 0.5
    assert answer["timing_ms"]["total"] >= answer["timing_ms"]["inference"] > 0


def test_every_request_and_every_result_is_an_entry_that_a_person_can_read(gateway, redis):
    answer = gateway.post("/predict", json=FILM).json()
    [(_, request)] = redis.xrevrange(TAG.requests, count=1)
    [(_, result)] = redis.xrevrange(TAG.results, count=1)
    assert (request["id"], request["text"]) == (answer["id"], FILM["text"])
    assert (result["id"], result["label"], result["version"]) == (answer["id"], "positive", "1")
    assert FILM["text"] not in str(result)


def test_the_log_is_also_a_way_in(gateway, redis: Redis):  # noqa: ARG001
    redis.xadd(TAG.requests, {"text": "a dull, lifeless bore"})
    wait_until(lambda: redis.xrevrange(TAG.results, count=1)[0][1]["label"] == "negative", "a result by XADD")


def test_several_texts_are_answered_in_order(gateway):
    texts = ["wonderful", "terrible waste of time", "superb acting"]
    answer = gateway.post("/predict", json={"texts": texts}).json()
    assert [item["label"] for item in answer["predictions"]] == ["positive", "negative", "positive"]


def test_who_does_not_want_to_wait_asks_later(gateway):
    accepted = gateway.post("/predict", json=FILM, headers={"Prefer": "respond-async"})
    assert accepted.status_code == 202
    where = accepted.headers["Location"]
    wait_until(lambda: gateway.get(where).status_code == 200, "the answer is there")
    assert gateway.get(where).json()["label"] == "positive"


def test_who_retries_with_a_key_gets_the_first_answer_again(gateway, redis):
    before = redis.xlen(TAG.requests)
    answers = [gateway.post("/predict", json=FILM, headers={"Idempotency-Key": "tour"}).content for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert redis.xlen(TAG.requests) == before + 1


def test_the_truth_may_come_later_and_may_be_corrected(gateway, redis):
    ident = gateway.post("/predict", json=FILM).json()["id"]
    assert gateway.post("/feedback", json={"id": ident, "label": "negative"}).status_code == 202
    assert gateway.post("/feedback", json={"id": ident, "label": "negative"}).status_code == 200
    assert gateway.post("/feedback", json={"id": ident, "label": "positive"}).status_code == 202
    (_, correction), (_, first) = redis.xrevrange(TAG.feedback, count=2)
    assert (first["id"], first["predicted"], first["label"]) == (ident, "positive", "negative")
    assert (correction["label"], correction["previous_label"]) == ("positive", "negative")


def test_the_truth_may_travel_with_the_text_and_changes_no_answer(gateway, redis):
    answers = [gateway.post("/predict", json={**FILM, "true_sentiment": t}).json() for t in ("positive", "negative")]
    assert answers[0]["probabilities"] == answers[1]["probabilities"]
    (_, second), (_, first) = redis.xrevrange(TAG.feedback, count=2)
    assert [(entry["id"], entry["label"]) for entry in (first, second)] == [
        (answers[0]["id"], "positive"),
        (answers[1]["id"], "negative"),
    ]


def test_what_is_wrong_is_said_without_repeating_it(gateway):
    problem = gateway.post("/predict", json={"text": "x" * 10_001})
    assert (problem.status_code, problem.json()["code"]) == (422, "too_long")
    assert problem.headers["content-type"] == "application/problem+json"
    assert "xxx" not in problem.text


def test_wrong_answers_raise_an_alarm_that_is_an_entry_with_its_evidence(gateway, monitor, redis):
    texts = ["wonderful", "a superb film", "terrible", "a boring mess"] * 16
    wrong = ["negative", "negative", "positive", "positive"] * 16
    for _ in range(4):
        gateway.post("/predict", json={"texts": texts, "true_sentiment": wrong})
    gauge = 'observa_alarm_active{detector="wilson",feature="accuracy",model="sentiment"} 1.0'
    wait_until(lambda: gauge in monitor.get("/metrics").text, "the alarm gauge is 1")

    def accuracy_alerts():
        return [alert for alert in gateway.get("/v1/alerts").json()["alerts"] if alert["feature"] == "accuracy"]

    wait_until(accuracy_alerts, "the alert is written")
    assert accuracy_alerts()[0]["state"] == "firing"
    assert accuracy_alerts()[0]["evidence"]
    assert redis.xlen(TAG.alerts) >= 1
