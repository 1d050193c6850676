"""What a caller of ``/report`` may ask for: ``?model=&version=&since=``."""

import re
from typing import Final, NamedTuple

from monitor.panes import HOUR_MS, MINUTE_MS
from monitor.report import Asked

MODEL: Final = "model"
UNITS_MS: Final = {"s": 1000, "m": MINUTE_MS, "h": HOUR_MS, "d": 24 * HOUR_MS}
_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_TIME = re.compile(r"[0-9]{12,14}")


class Refused(NamedTuple):
    """Why a question has no answer, for the caller."""

    code: str
    detail: str


def asked(query: dict[str, str], now_ms: float) -> Asked | Refused:
    """Read a query at *now_ms*, Redis time."""
    for name in query:
        if name not in {MODEL, "version", "since"}:
            return Refused("unknown_parameter", "a report takes model, version and since")
    since = query.get("since")
    if since is None:
        return Asked(query.get("version"))
    if found := _AGO.fullmatch(since):
        return Asked(query.get("version"), max(0, int(now_ms) - int(found[1]) * UNITS_MS[found[2]]))
    if _TIME.fullmatch(since):
        return Asked(query.get("version"), int(since))
    return Refused("since_invalid", "since is a time ago such as 90m, 24h or 2d, or milliseconds since 1970")
