"""What a caller may ask for: ``/report?model=&version=&since=`` and ``/compare?model=&a=&b=&since=``."""

import re
from typing import Final, NamedTuple

from broker.manifest import NAME_PATTERN
from monitor.panes import HOUR_MS, MINUTE_MS
from monitor.report import Asked

MODEL: Final = "model"
UNITS_MS: Final = {"s": 1000, "m": MINUTE_MS, "h": HOUR_MS, "d": 24 * HOUR_MS}
_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_TIME = re.compile(r"[0-9]{12,14}")
_NAME = re.compile(NAME_PATTERN)
_SINCE_INVALID: Final = "since is a time ago such as 90m, 24h or 2d, or milliseconds since 1970"


class Refused(NamedTuple):
    """Why a question has no answer, for the caller."""

    code: str
    detail: str


class Question(NamedTuple):
    """Which two versions of a model to compare, and since when, as it was said; "" for all that is kept."""

    model: str
    first: str
    second: str
    since: str


def asked(query: dict[str, str], now_ms: float) -> Asked | Refused:
    """Read a query at *now_ms*, Redis time."""
    for name in query:
        if name not in {MODEL, "version", "since"}:
            return Refused("unknown_parameter", "a report takes model, version and since")
    since = query.get("since")
    if since is None:
        return Asked(query.get("version"))
    since_ms = time_of(since, now_ms)
    return Refused("since_invalid", _SINCE_INVALID) if since_ms is None else Asked(query.get("version"), since_ms)


def compared(query: dict[str, str]) -> Question | Refused:
    """Read which two versions are to be compared."""
    model, first, second, since = (query.get(name, "") for name in (MODEL, "a", "b", "since"))
    if query.keys() - {MODEL, "a", "b", "since"} or not all(_NAME.fullmatch(one) for one in (model, first, second)):
        return Refused(
            "comparison_invalid", "a comparison takes model, a and b, two versions of it, and may take since"
        )
    if first == second:
        return Refused("comparison_invalid", "a and b are one version; name two")
    if since and time_of(since, 0) is None:
        return Refused("since_invalid", _SINCE_INVALID)
    return Question(model, first, second, since)


def time_of(since: str, now_ms: float) -> int | None:
    """Return the Redis time in milliseconds that *since* names at *now_ms*; None for what names none."""
    if found := _AGO.fullmatch(since):
        return max(0, int(now_ms) - int(found[1]) * UNITS_MS[found[2]])
    return int(since) if _TIME.fullmatch(since) else None
