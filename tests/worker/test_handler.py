from dataclasses import replace

import orjson
import pytest

from broker.streams import Tag
from tests.worker.builders import ENTRY_MS, TAG, arrival, served
from worker.handler import Handler, sort_out


def handler(models=None, now_ms=ENTRY_MS + 40.0, seconds=(10.0, 10.5)):
    ticks = iter(seconds * 100)
    return Handler(models or served(), "me", lambda: now_ms, lambda: next(ticks))


def settled(*arrivals, **options):
    handled = handler(**options).handle(arrivals)
    by_entry = {settlement.entry_id: settlement for settlement in handled.settlements}
    return [by_entry[each.entry_id] for each in arrivals]


def test_a_prediction_has_what_the_caller_was_promised():
    text = arrival(tags={"run": "7"})
    (found,) = settled(text)
    assert orjson.loads(found.answer) == {
        "id": text.request.id,
        "model": "toy",
        "version": "1",
        "label": "positive",
        "label_id": 1,
        "confidence": 0.9,
        "probabilities": {"negative": 0.1, "positive": 0.9},
        "abstained": False,
        "truncated": False,
        "timing_ms": {"queue": 40.0, "inference": 500.0, "total": 540.0},
    }


def test_a_result_has_what_the_monitor_counts_and_no_text():
    (found,) = settled(arrival("A  good film", tags={"run": "7"}), models=served(vocabulary={"a", "good"}))
    result = found.result
    assert (result.characters, result.words, result.tokens) == (12, 3, 3)
    assert result.oov_ratio == pytest.approx(1 / 3, abs=1e-6)
    assert (result.role, result.status, result.batch_size, result.worker) == ("live", "ok", 1, "me")
    assert result.tags == {"run": "7"}
    assert "film" not in str(result.to_fields())


def test_the_model_reads_the_text_as_its_manifest_normalises_it():
    models = served()
    settled(arrival("a \t good\n film"), models=models)
    assert models.versions["1"].model.asked == [["a good film"]]


def test_a_true_label_never_reaches_the_model():
    for text in ("a good film", "a bad film"):
        models = served()
        told = [settled(arrival(text, true_label=label), models=models)[0] for label in ("positive", "negative", None)]
        assert len({(f.result.label, f.result.confidence, str(f.result.probabilities)) for f in told}) == 1
        assert models.versions["1"].model.asked == [[text]] * 3


def test_a_true_label_that_the_version_does_not_know_is_no_feedback():
    known, unknown = settled(arrival(true_label="negative"), arrival(true_label="bread"))
    assert known.request.true_label == "negative"
    assert (unknown.request.true_label, unknown.result.status) == (None, "ok")


def test_an_expired_request_is_answered_and_never_inferred():
    models = served()
    late, in_time = arrival(deadline_ms=40), arrival(deadline_ms=41)
    first, second = settled(late, in_time, models=models)
    assert orjson.loads(first.answer) == {
        "id": late.request.id,
        "error": {"code": "deadline_exceeded", "status": 504},
    }
    assert (first.result.status, first.result.code, first.result.label) == ("error", "deadline_exceeded", None)
    assert first.dead is None
    assert second.result.status == "ok"
    assert models.versions["1"].model.asked == [["a good film"]]


def test_a_pinned_version_that_is_gone_is_unavailable():
    (found,) = settled(arrival(version="0", pinned=True))
    assert orjson.loads(found.answer)["error"] == {"code": "version_unavailable", "status": 404}
    assert found.result.version == "0"


def test_a_version_that_is_gone_but_not_pinned_is_answered_by_the_live_one():
    (found,) = settled(arrival(version="0"))
    assert (found.result.version, found.result.status) == ("1", "ok")


def test_a_loaded_version_beside_the_live_one_answers_as_canary():
    live, canary = settled(arrival(), arrival(version="2"), models=served("1", "2"))
    assert (live.result.version, live.result.role) == ("1", "live")
    assert (canary.result.version, canary.result.role) == ("2", "canary")


def test_a_request_of_the_former_live_version_is_answered_by_the_live_one_as_such():
    models = served("1", "2", "3", live="2")
    models = replace(models, canary="3")
    stamped, pinned = settled(arrival(version="1"), arrival(version="1", pinned=True), models=models)
    assert (stamped.result.version, stamped.result.role) == ("2", "live")
    assert (pinned.result.version, pinned.result.role) == ("1", "canary")


def test_a_batch_that_began_before_a_swap_ends_with_what_it_began_with():
    def swap_amid():
        under.served = served("2", live="2")
        return 1.0

    under = Handler(served("1"), "me", lambda: ENTRY_MS + 40.0, swap_amid)
    for version, role in (("1", "live"), ("2", "live")):
        (found,) = under.handle([arrival(version="1")]).settlements
        assert (found.result.version, found.result.role) == (version, role)


@pytest.mark.parametrize(("threshold", "abstained"), [(None, False), (0.9, False), (0.91, True), (0.0, False)])
def test_below_the_threshold_the_label_is_kept_and_marked(threshold, abstained):
    (found,) = settled(arrival(threshold=threshold))
    assert found.result.abstained is abstained
    assert found.result.label == "positive"


def test_a_model_has_a_threshold_of_its_own():
    (found,) = settled(arrival(), models=served(threshold=0.95))
    assert found.result.abstained


def test_a_long_text_is_cut_unless_the_caller_forbids_it():
    long = "good " * 9
    cut, refused, short = settled(arrival(long), arrival(long, truncate=False), arrival(truncate=False))
    assert (cut.result.status, cut.result.truncated, cut.result.tokens) == ("ok", True, 9)
    assert orjson.loads(refused.answer)["error"] == {"code": "too_many_tokens", "status": 422}
    assert short.result.truncated is False


@pytest.mark.parametrize("culprit", range(6))
@pytest.mark.parametrize("word", ["RAISE", "NAN"])
def test_one_bad_text_fails_alone_wherever_it_stands(culprit, word):
    texts = [arrival(word if position == culprit else "a good film") for position in range(6)]
    found = settled(*texts)
    assert [each.result.status for each in found] == ["error" if at == culprit else "ok" for at in range(6)]
    bad = found[culprit]
    assert orjson.loads(bad.answer)["error"] == {"code": "inference_failed", "status": 502}
    assert (bad.dead.reason, bad.dead.worker) == ("inference_failed", "me")
    assert "quotes" not in bad.dead.detail
    assert not any(each.dead for each in found if each is not bad)


def test_a_model_that_forgets_a_text_fails_and_mixes_up_no_answers():
    models = served()
    toy = models.versions["1"].model
    toy.predict = lambda texts: [toy._score(texts[0])]
    found = settled(arrival("a good film"), arrival("a bad film"), models=models)
    assert [each.result.label for each in found] == ["positive", "negative"]
    toy.predict = lambda _texts: []
    assert {each.result.code for each in settled(arrival(), arrival(), models=models)} == {"inference_failed"}


def test_timing_is_counted_from_the_entrys_own_time():
    (found,) = settled(arrival(at_ms=ENTRY_MS - 2000))
    assert found.result.queue_ms == 2040.0


def test_a_clock_behind_the_log_gives_no_negative_wait():
    (found,) = settled(arrival(), now_ms=ENTRY_MS - 300.0)
    assert found.result.queue_ms == 0
    assert orjson.loads(found.answer)["timing_ms"] == {"queue": 0, "inference": 500.0, "total": 500.0}


def entries(*each):
    return [(f"{ENTRY_MS}-{position}", fields) for position, fields in enumerate(each)]


def test_an_entry_that_cannot_be_read_spoils_no_other():
    found = sort_out(
        TAG,
        entries(
            {b"text": b"good"},
            {b"text": b"\xff\xfe"},
            {b"nonsense": b"1"},
            {str(n).encode(): b"x" for n in range(1000)},
            {b"text": b"x", b"schema_version": b"2"},
            {b"text": b""},
            {b"text": b"x", b"id": b"other.0.01890a5d-ac96-774b-bcce-b302099a8057"},
            {b"text": b"fine"},
        ),
        "me",
    )
    assert [each.request.text for each in found.arrivals] == ["good", "fine"]
    assert [each.entry_id[-1] for each in found.malformed] == ["1", "2", "3", "5", "6"]
    assert all(each.dead and each.dead.reason == "malformed" for each in found.malformed)
    assert [each[-1] for each in found.newer] == ["4"]


def test_an_entry_written_by_hand_gets_the_id_of_its_place():
    (found,) = sort_out(Tag("toy", 3), entries({b"text": b"hello"}), "me").arrivals
    assert found.request.id.startswith("toy.3.")
