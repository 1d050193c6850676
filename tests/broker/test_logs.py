"""What a log line may say of an exception."""

import json
import logging
import subprocess
import sys
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


def test_what_a_service_calls_over_http_is_not_logged_as_its_address_may_hold_a_password():
    script = "import logging, broker.logs as l; l.log_to_stderr('t'); logging.getLogger('httpx').info('http://me:pw@h')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not done.stderr
