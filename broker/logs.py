"""Logs as JSON lines on stderr, one event a line, never the text of a request."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Final

from broker.printing import json_text

# What a record always has, and uvicorn's second spelling of its message.
_OWN_ATTRIBUTES: Final = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """One JSON object a record; what was passed as ``extra`` becomes its fields.

    Of an exception it says the type and the places: its message may repeat what a caller sent.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of *record*."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": _event(record),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            line["where"] = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        return json_text(line)


def _event(record: logging.LogRecord) -> str:
    """Return the message; Starlette gives uvicorn a whole traceback as one, which may repeat what a caller sent."""
    message = record.getMessage()
    return "the application's start or end failed" if message.startswith("Traceback (most recent") else message


def log_to_stderr(service: str, level: int = logging.INFO) -> None:
    """Send every logger's records to stderr as JSON lines that name the *service*."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every call, and of the password in its address
