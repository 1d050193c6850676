"""What a log line may say of an exception."""

import json
import logging
import traceback

from broker.logs import JsonLines

SECRET = "what a caller wrote"


def record(message: str, *, failed: bool) -> logging.LogRecord:
    try:
        int(SECRET)
    except ValueError as error:
        text = message or traceback.format_exc()
        info = (ValueError, error, error.__traceback__) if failed else None
        return logging.LogRecord("uvicorn.error", logging.ERROR, __file__, 1, text, (), info)


def test_an_exception_is_its_type_and_places_without_its_message():
    line = JsonLines("test").format(record("it failed", failed=True))
    assert SECRET not in line
    said = json.loads(line)
    assert (said["event"], said["error"]) == ("it failed", "ValueError")
    assert said["where"][-1].startswith(__file__)


def test_a_traceback_that_is_itself_the_message_is_left_out():
    line = JsonLines("test").format(record("", failed=False))
    assert SECRET not in line
    assert "start or end failed" in json.loads(line)["event"]
