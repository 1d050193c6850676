import asyncio

import orjson
import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from broker.answers import PENDING, Prediction, encode_error
from broker.errors import WrongKeyTypeError
from broker.events import DeadLetter, Feedback, Request, Result
from broker.groups import ensure_groups
from broker.log import IDEMPOTENCY_S, Acceptance, Idempotency, Log, Unit
from broker.settings import BrokerSettings
from broker.settlement import DeadNote, Settlement
from broker.streams import WORKERS, PredictionId, Tag, entry_time_ms
from broker.waiting import find_waiting

TAG = Tag("sentiment")


def request(text: str = "fine", **fields) -> Request:
    return Request(id=str(PredictionId.new(TAG)), text=text, **fields)


def result(of: Request, label: str = "positive", **fields) -> Result:
    return Result(
        id=of.id,
        version="1",
        status="ok",
        label=label,
        label_id=1,
        confidence=0.9,
        probabilities={"negative": 0.1, "positive": 0.9},
        queue_ms=1,
        worker="w",
        tags=of.tags,
        **fields,
    )


def answer(of: Request, label: str = "positive") -> bytes:
    return Prediction(
        id=of.id,
        model="sentiment",
        version="1",
        label=label,
        label_id=1,
        confidence=0.9,
        probabilities={"negative": 0.1, "positive": 0.9},
        abstained=False,
        truncated=False,
        timing_ms={"queue": 1, "inference": 1, "total": 2},
    ).encode()


async def read(redis: Redis, consumer: str = "w", count: int = 100) -> list[tuple[str, dict[bytes, bytes]]]:
    found = await redis.xreadgroup(WORKERS, consumer, {TAG.requests: ">"}, count=count)
    return [(entry.decode(), fields) for _, entries in found for entry, fields in entries]


async def serve(log: Log, redis: Redis, label: str = "positive") -> list[bool]:
    settlements = []
    for entry_id, fields in await read(redis):
        req = Request.from_entry(TAG, entry_id, fields)
        settlements.append(Settlement(entry_id, req, result(req, label), answer(req, label)))
    return await log.settle(TAG, settlements)


@pytest.fixture
async def log(redis: Redis, settings: BrokerSettings) -> Log:
    await ensure_groups(redis, TAG)
    return Log(redis, settings)


async def accept(log: Log, *requests: Request, limit: int = 1000) -> Acceptance:
    [outcome] = await log.accept(TAG, [Unit(requests)], backlog_limit=limit)
    return outcome


async def test_an_accepted_request_is_pending_and_on_the_log(log, redis):
    req = request("a film", tags={"country": "de"}, deadline_ms=500)
    assert await accept(log, req) == Acceptance("accepted", (req.id,))
    assert await log.answers([PredictionId.parse(req.id)]) == [PENDING]
    [(entry_id, fields)] = await read(redis)
    assert Request.from_entry(TAG, entry_id, fields) == req


async def test_a_pending_answer_lives_as_long_as_the_longest_deadline_of_its_minute_and_then_its_retention(log, redis):
    urgent, patient = request(deadline_ms=1000), request(deadline_ms=7_200_000)
    await accept(log, urgent, patient)
    await accept(log, request(deadline_ms=1000))
    assert await redis.ttl(PredictionId.parse(patient.id).answers_key) > 7200 + 900


async def test_accepting_twice_adds_one_entry(log, redis):
    req = request()
    assert await accept(log, req) == await accept(log, req)
    assert await redis.xlen(TAG.requests) == 1
    assert await redis.get(TAG.backlog) == b"1"


async def test_a_unit_is_accepted_whole_or_not_at_all(log, redis):
    outcomes = await log.accept(
        TAG, [Unit((request(), request())), Unit((request(), request())), Unit((request(),))], backlog_limit=3
    )
    assert [outcome.status for outcome in outcomes] == ["accepted", "overloaded", "accepted"]
    assert await redis.xlen(TAG.requests) == 3


async def test_a_repeated_call_is_not_refused_for_the_room_it_took_itself(log, redis):
    req = request()
    assert (await accept(log, req, limit=1)).status == "accepted"
    assert (await accept(log, req, limit=1)).status == "accepted"
    assert (await accept(log, request(), limit=1)).status == "overloaded"
    assert await redis.xlen(TAG.requests) == 1


async def test_an_idempotency_key_gives_the_first_ids_again_and_refuses_another_body(log, redis):
    first, again, other = request(), request(), request()
    outcomes = await log.accept(
        TAG,
        [
            Unit((first,), Idempotency("k", "body")),
            Unit((again,), Idempotency("k", "body")),
            Unit((other,), Idempotency("k", "another")),
        ],
        backlog_limit=10,
    )
    assert outcomes == [
        Acceptance("accepted", (first.id,)),
        Acceptance("replayed", (first.id,)),
        Acceptance("conflict", (first.id,)),
    ]
    assert await redis.xlen(TAG.requests) == 1


async def test_what_is_settled_is_published_everywhere_at_once(log, redis):
    req = request(reply_to="gw", tags={"country": "de"})
    await accept(log, req)
    assert await find_waiting(redis, PredictionId.parse(req.id))
    assert await serve(log, redis) == [True]
    assert await redis.hlen(TAG.waiting) == 0
    assert await log.answers([PredictionId.parse(req.id)]) == [answer(req)]
    [(_, fields)] = await redis.xrange(TAG.results)
    assert Result.from_fields(fields) == result(req)
    [(_, reply)] = await redis.xrange(TAG.replies("gw"))
    assert reply == {b"id": req.id.encode(), b"answer": answer(req)}
    assert (await redis.xpending(TAG.requests, WORKERS))["pending"] == 0
    assert await redis.get(TAG.backlog) == b"0"
    assert await redis.xlen(TAG.feedback) == 0


async def test_whoever_acknowledges_second_publishes_nothing(log, redis):
    req = request(true_label="positive")
    await accept(log, req)
    [(entry_id, _)] = await read(redis)
    same = Settlement(entry_id, req, result(req), answer(req))
    assert await log.settle(TAG, [same]) == [True]
    assert await log.settle(TAG, [same, same]) == [False, False]
    assert [await redis.xlen(stream) for stream in (TAG.results, TAG.feedback)] == [1, 1]
    assert await redis.get(TAG.backlog) == b"0"


async def test_an_id_that_stands_on_the_log_twice_is_answered_once(log, redis):
    req = request()
    await accept(log, req)
    await redis.xadd(TAG.requests, req.to_fields())
    assert await serve(log, redis) == [True, False]
    assert await redis.xlen(TAG.results) == 1


async def test_a_lost_group_answers_nothing_again_even_after_the_answers_expired(log, redis):
    req = request()
    await accept(log, req)
    await serve(log, redis)
    await redis.delete(PredictionId.parse(req.id).answers_key)
    await redis.xgroup_destroy(TAG.requests, WORKERS)
    await ensure_groups(redis, TAG)
    assert await log.answered([PredictionId.parse(req.id)]) == {req.id}
    assert await serve(log, redis) == [False]
    assert await redis.xlen(TAG.results) == 1


async def test_a_label_sent_with_the_text_becomes_feedback_beside_the_result(log, redis):
    req = request(true_label="negative", tags={"evaluation": "run"})
    await accept(log, req)
    await serve(log, redis)
    [(_, fields)] = await redis.xrange(TAG.feedback)
    assert Feedback.from_fields(fields) == Feedback(
        id=req.id,
        label="negative",
        predicted="positive",
        confidence=0.9,
        version="1",
        source="request",
        made_ms=await result_ms(redis),
        tags={"evaluation": "run"},
    )


async def result_ms(redis):
    [(entry_id, _)] = await redis.xrange(TAG.results)
    return entry_time_ms(entry_id.decode())


@pytest.mark.parametrize("hours", [-49, 0, 49], ids=["slow", "right", "fast"])
@pytest.mark.parametrize("tags", [{}, {"country": "de"}], ids=["plain", "tags"])
async def test_labels_say_when_the_log_took_the_result_whatever_the_gateways_clock_says(log, redis, hours, tags):
    seconds, _ = await redis.time()
    ident = PredictionId.of_entry(TAG, f"{(seconds + hours * 3600) * 1000}-1")
    await accept(log, request(true_label="positive", tags=tags).model_copy(update={"id": str(ident)}))
    await serve(log, redis)
    assert await log.feedback(ident, "negative") == "replaced"
    labels = [Feedback.from_fields(fields) for _, fields in await redis.xrange(TAG.feedback)]
    assert [(f.label, f.made_ms, f.tags) for f in labels] == [
        (label, await result_ms(redis), tags) for label in ("positive", "negative")
    ]


async def test_a_label_of_a_prediction_that_an_older_worker_settled_is_joined_without_that_time(log, redis):
    ident = PredictionId.new(TAG)
    await redis.hset(ident.joins_key, ident.uuid, '["positive","0.9000","1",""]')
    assert await log.feedback(ident, "negative") == "accepted"
    [(_, fields)] = await redis.xrange(TAG.feedback)
    assert Feedback.from_fields(fields).made_ms is None


async def test_feedback_says_what_became_of_it(log, redis):
    req, ident = request(), None
    ident = PredictionId.parse(req.id)
    assert await log.feedback(ident, "positive") == "unknown"
    await accept(log, req)
    assert await log.feedback(ident, "negative") == "parked"
    assert await log.feedback(ident, "negative") == "same"
    await serve(log, redis)
    assert await log.feedback(ident, "negative") == "same"
    assert await log.feedback(ident, "positive") == "replaced"
    assert await log.feedback(ident, "positive") == "same"
    labels = [Feedback.from_fields(fields) for _, fields in await redis.xrange(TAG.feedback)]
    assert [(f.label, f.previous_label, f.source) for f in labels] == [
        ("negative", None, "caller"),
        ("positive", "negative", "caller"),
    ]


async def test_an_idempotency_key_and_a_label_that_waits_for_its_result_go_by_themselves(log, redis, settings):
    req = request()
    await log.accept(TAG, [Unit((req,), Idempotency("k", "body"))], backlog_limit=10)
    assert IDEMPOTENCY_S - 60 < await redis.ttl(TAG.idem(0)) <= IDEMPOTENCY_S
    ident = PredictionId.parse(req.id)
    assert await log.feedback(ident, "negative") == "parked"
    assert settings.join_retention_h * 3600 - 60 < await redis.ttl(ident.joins_key) <= settings.join_retention_h * 3600


async def test_a_row_is_counted_once_whether_or_not_labels_came_before_its_result(log, redis):
    early, late = request(), request()
    await accept(log, early, late)
    for label in ("negative", "positive", "negative"):
        assert await log.feedback(PredictionId.parse(early.id), label) == "parked"
    await serve(log, redis)
    for label in ("negative", "positive"):
        await log.feedback(PredictionId.parse(late.id), label)
    assert sum(map(int, await redis.hvals(TAG.joined))) == 2


async def test_a_label_parked_before_the_result_corrects_the_one_sent_with_the_text(log, redis):
    req = request(true_label="positive")
    await accept(log, req)
    await log.feedback(PredictionId.parse(req.id), "negative")
    await serve(log, redis)
    labels = [Feedback.from_fields(fields) for _, fields in await redis.xrange(TAG.feedback)]
    assert [(f.label, f.previous_label) for f in labels] == [("positive", None), ("negative", "positive")]


async def test_a_join_row_stays_small_enough_for_a_compact_hash(log, redis):
    req = request(tags={"country": "de"})
    await accept(log, req)
    await serve(log, redis)
    ident = PredictionId.parse(req.id)
    assert len(await redis.hget(ident.joins_key, ident.uuid)) <= 64
    assert await redis.object("ENCODING", ident.joins_key) == b"listpack"
    assert 0 < await redis.ttl(ident.joins_key) <= 7 * 24 * 3600


async def test_an_unreadable_entry_is_buried_with_its_bytes_and_acknowledged(log, redis):
    await redis.xadd(TAG.requests, {"text": b"\xff\x00", "odd": "x"})
    [(entry_id, _)] = await read(redis)
    note = DeadNote("malformed", "a field is not UTF-8", 1, "w")
    assert await log.settle(TAG, [Settlement(entry_id, dead=note)]) == [True]
    [(_, fields)] = await redis.xrange(TAG.dead)
    letter = DeadLetter.from_fields(fields)
    assert (letter.entry_id, letter.reason, letter.id) == (entry_id, "malformed", None)
    assert (await redis.xpending(TAG.requests, WORKERS))["pending"] == 0


async def test_a_dead_letter_can_be_sent_again_and_is_answered(log, redis):
    req = request()
    await accept(log, req)
    [(entry_id, _)] = await read(redis)
    failed = Result(id=req.id, version="1", status="error", code="inference_failed", queue_ms=1, worker="w")
    dead = DeadNote("crashed", "delivered 3 times", 3, "w")
    await log.settle(TAG, [Settlement(entry_id, req, failed, encode_error(req.id, "inference_failed"), dead)])
    [stored] = await log.answers([PredictionId.parse(req.id)])
    assert orjson.loads(stored)["error"] == {"code": "inference_failed", "status": 502}
    [(dead_id, _)] = await redis.xrange(TAG.dead)
    assert await log.redrive(TAG, dead_id.decode())
    assert await log.answers([PredictionId.parse(req.id)]) == [PENDING]
    assert await serve(log, redis) == [True]
    assert await redis.xlen(TAG.dead) == 0
    assert await log.redrive(TAG, dead_id.decode()) is None


@pytest.mark.parametrize("stream", ["results", "feedback", "requests"])
async def test_a_key_of_the_wrong_type_stops_the_script_before_it_writes(log, redis, stream):
    req = request(true_label="positive")
    await accept(log, req)
    [(entry_id, _)] = await read(redis)
    settlement = Settlement(entry_id, req, result(req), answer(req))
    await redis.rename(TAG.key(stream), "saved") if stream == "requests" else None
    await redis.set(TAG.key(stream), "x")
    with pytest.raises(WrongKeyTypeError, match=f"holds a string.*DEL 'observa:{{sentiment}}:{stream}'"):
        await log.settle(TAG, [settlement])
    await redis.delete(TAG.key(stream))
    await redis.rename("saved", TAG.requests) if stream == "requests" else None
    assert await log.settle(TAG, [settlement]) == [True]


async def test_a_slot_of_keys_of_the_wrong_type_is_named_and_nothing_is_written(log, redis):
    await redis.set(TAG.idem(3), "x")
    unit = Unit((request(),), Idempotency("key", "body"))
    with pytest.raises(WrongKeyTypeError, match=r"holds a string.*DEL 'observa:\{sentiment\}:idem:3'"):
        await log.accept(TAG, [unit], backlog_limit=9)
    assert not await redis.xlen(TAG.requests)


async def test_a_full_server_refuses_new_requests_and_still_lets_answers_out(log, redis):
    req = request()
    await accept(log, req)
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(OutOfMemoryError):
            await accept(log, request())
        assert await serve(log, redis) == [True]
    finally:
        await redis.config_set("maxmemory", "0")
    assert await redis.xlen(TAG.requests) == 1


async def test_only_what_is_still_ours_is_kept_from_being_claimed(log, redis):
    await accept(log, request(), request())
    [(first, _), (second, _)] = await read(redis, "slow")
    await redis.xclaim(TAG.requests, WORKERS, "other", 0, [first])
    assert await log.refresh(TAG, "slow", [first, second]) == 1
    owners = {
        row["message_id"].decode(): row["consumer"]
        for row in await redis.xpending_range(TAG.requests, WORKERS, "-", "+", 10)
    }
    assert owners == {first: b"other", second: b"slow"}
    counts = {
        row["message_id"].decode(): row["times_delivered"]
        for row in await redis.xpending_range(TAG.requests, WORKERS, "-", "+", 10)
    }
    assert counts[second] == 1


async def test_scripts_survive_the_server_forgetting_them(log, redis):
    await accept(log, request())
    await redis.script_flush()
    assert (await accept(log, request())).status == "accepted"


async def test_fifty_callers_with_one_key_get_one_entry(log, redis):
    outcomes = await asyncio.gather(
        *(log.accept(TAG, [Unit((request(),), Idempotency("k", "b"))], backlog_limit=100) for _ in range(50))
    )
    assert len({outcome.ids for [outcome] in outcomes}) == 1
    assert await redis.xlen(TAG.requests) == 1


FOREIGN = ["no JSON", "{", "7", "[]", "{}", "[1,2,3,4]", '["a","b"]', '["","","",""', "null", "[" * 2000]


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_a_join_row_that_somebody_else_wrote_counts_as_none(log, redis, foreign):
    req = request()
    await accept(log, req)
    wanted = PredictionId.parse(req.id)
    await redis.hset(wanted.joins_key, wanted.uuid, foreign)
    assert await log.answered([wanted]) == set()
    assert await log.feedback(wanted, "negative") == "parked"
    await redis.hset(wanted.joins_key, wanted.uuid, foreign)
    assert await serve(log, redis) == [True]
    assert await log.feedback(wanted, "negative") == "accepted"
    await redis.hset(wanted.joins_key, wanted.uuid, foreign)
    assert await log.feedback(wanted, "negative") == "unknown"


@pytest.mark.parametrize("foreign", [*FOREIGN, '{"body":"b","ids":7}', '{"body":"b","ids":[7]}', '{"ids":{}}'])
async def test_an_idempotency_key_that_somebody_else_wrote_counts_as_new(log, redis, foreign):
    elsewhere = Tag("sentiment", 1)
    for tag in (TAG, elsewhere):
        await redis.set(tag.idem("k"), foreign)
    first, again = request(), request()
    for one, status in ((first, "accepted"), (again, "replayed")):
        unit = Unit((one,), Idempotency("k", "b", (elsewhere,)))
        assert await log.accept(TAG, [unit], backlog_limit=9) == [Acceptance(status, (first.id,))]


@pytest.mark.parametrize("foreign", [*FOREIGN[:6], '["text"]', '["text",7]'])
async def test_a_dead_letter_that_somebody_else_wrote_is_not_sent_again(log, redis, foreign):
    dead_id = await redis.xadd(TAG.dead, {"reason": "crashed", "entry": foreign})
    assert await log.redrive(TAG, dead_id.decode()) is None
    assert await redis.xlen(TAG.requests) == 0


@pytest.mark.parametrize(
    "identity", ["by hand", b"\xff", str(PredictionId.new(Tag("another")))], ids=["text", "bytes", "of another model"]
)
async def test_a_dead_letter_whose_id_was_made_up_is_not_sent_again_and_stops_no_others(log, redis, identity):
    dead_id = await redis.xadd(TAG.dead, {"id": identity, "entry": '["text","x"]'})
    assert await log.redrive(TAG, dead_id.decode()) is None
    assert await redis.xlen(TAG.requests) == 0


async def test_redriving_shortens_no_answer_and_outlives_the_new_deadline(log, redis, settings):
    dead, other = request(deadline_ms=7_200_000), request(deadline_ms=86_400_000)
    await accept(log, other)
    flat = [part for pair in dead.to_fields().items() for part in pair]
    key = PredictionId.parse(dead.id).answers_key
    long = await redis.ttl(key)
    assert long > 86_400
    for kept, least in ((long, long), (None, 7_200 + settings.answer_retention_s)):
        if kept is None:
            await redis.delete(key)
        dead_id = await redis.xadd(TAG.dead, {"id": dead.id, "reason": "crashed", "entry": orjson.dumps(flat)})
        assert await log.redrive(TAG, dead_id.decode())
        assert await redis.ttl(key) >= least - 5
