"""The join of requests, results and labels, without a server."""

from broker.events import Request, Result
from broker.streams import PredictionId, Tag
from cli.joined import Joined

TAG = Tag("sentiment")


def on_the_wire(event: Request | Result) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in event.to_fields().items()}


def answer(identity: str) -> dict[bytes, bytes]:
    return on_the_wire(
        Result(id=identity, version="v1", status="ok", label="positive", confidence=0.5, queue_ms=1, worker="w")
    )


def test_memory_is_bounded_and_what_is_dropped_is_counted() -> None:
    joined = Joined(limit=10)
    for number in range(1, 16):
        joined.add_request(TAG, f"{number}-0", {b"text": str(number).encode()})
        joined.add_result(answer(str(PredictionId.new(TAG))))
    assert [line["request_text"] for line in joined.lines()] == [str(number) for number in range(6, 16)]
    assert joined.forgotten == 5
    assert len(joined._early) == 10


def test_a_result_that_is_read_before_its_request_waits_for_it() -> None:
    joined, identity = Joined(limit=10), str(PredictionId.new(TAG))
    joined.add_result(answer(identity))
    assert joined.news() == []
    joined.add_request(TAG, "1-0", on_the_wire(Request(id=identity, text="a")))
    assert [line["status"] for line in joined.news()] == ["ok"]
    assert joined.news() == []


def test_news_of_one_millisecond_come_in_order() -> None:
    joined = Joined(limit=100)
    for number in range(50):
        joined.add_request(TAG, f"1-{number}", {b"text": str(number).encode()})
        joined.add_result(answer(str(PredictionId.of_entry(TAG, f"1-{number}"))))
    assert [line["request_text"] for line in joined.news()] == [str(number) for number in range(50)]


def test_what_cannot_be_read_is_counted_not_guessed() -> None:
    joined = Joined(limit=10)
    joined.add_result({b"id": b"x"})
    joined.add_feedback({b"schema_version": b"99"})
    assert joined.unreadable == 2
