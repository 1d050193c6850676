"""What the monitor counted of one evaluation."""

import asyncio
import time
from typing import TypedDict
from urllib.parse import quote

import httpx

from cli.api import client

TIMEOUT_S = 2.0
POLL_S = 0.25
PATIENCE_S = 10.0


class Counted(TypedDict):
    """The monitor's own figures for the texts of one run."""

    accuracy: float | None
    count: int


async def counted(url: str, model: str, run_id: str, expected: int) -> Counted | None:
    """Wait up to `PATIENCE_S` until the monitor has counted *expected* texts of the run.

    Returns what it counted by then; None where nothing that is a monitor answers.
    """
    end = time.monotonic() + PATIENCE_S
    async with client(url, TIMEOUT_S) as http:
        while True:
            try:
                response = await http.get(f"/report/{quote(model, safe='')}")
                found = _run(response, run_id)
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                return None
            if found["count"] >= expected or time.monotonic() > end:
                return found
            await asyncio.sleep(POLL_S)


def _run(response: httpx.Response, run_id: str) -> Counted:
    if response.status_code == httpx.codes.NOT_FOUND:  # the monitor has not met the model yet
        return {"accuracy": None, "count": 0}
    versions = response.raise_for_status().json()["evaluations"].get(run_id, {}).values()
    count, correct = (sum(version[name] for version in versions) for name in ("count", "correct"))
    return {"accuracy": correct / count if count else None, "count": count}
