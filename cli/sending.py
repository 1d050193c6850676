"""Sends labelled texts through the gateway in calls that may be repeated without counting twice."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from broker.errors import ObservaError
from broker.labelled import LabelledText
from cli.api import Gateway, RefusedError

TEXTS_PER_CALL = 32
BYTES_PER_CALL = 40 << 10  # of text; the gateway takes bodies of 160 KiB unless told otherwise
PATIENCE_S = 120.0
LATE_ANSWER_S = 2.0  # the gateway's deadline may pass just before the answer comes
REFUSED_AS_A_WHOLE = frozenset({413, 422})  # one text may be the cause; the others are then sent without it


@dataclass(frozen=True, slots=True)
class Call:
    """Texts that travel together under one idempotency key."""

    key: str
    rows: tuple[LabelledText, ...]

    def halves(self) -> tuple["Call", "Call"]:
        """Return two calls with keys of their own."""
        middle = len(self.rows) // 2
        return Call(f"{self.key}a", self.rows[:middle]), Call(f"{self.key}b", self.rows[middle:])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one text: a prediction as the gateway gave it, or the reason why there is none."""

    row: LabelledText
    prediction: dict[str, Any] | None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Where and how the texts of one run are sent."""

    gateway: Gateway
    path: str
    run_id: str

    async def send_all(
        self, rows: Sequence[LabelledText], concurrency: int, on_progress: Callable[[int], object]
    ) -> tuple[list[Outcome], list[float]]:
        """Send all *rows*, *concurrency* calls at a time; return their outcomes in order, and each call's ms.

        Raises:
            UnreachableError, RefusedError: the gateway is away, stays busy, or refuses whatever is sent.

        """
        calls = list(calls_of(rows, self.run_id))
        waiting = iter(enumerate(calls))
        outcomes: list[list[Outcome]] = [[] for _ in calls]
        call_ms: list[float] = []

        async def work() -> None:
            for position, call in waiting:
                outcomes[position] = await self._send(call, call_ms)
                on_progress(len(call.rows))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(calls))):
                    group.create_task(work())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return [outcome for part in outcomes for outcome in part], call_ms

    async def _send(self, call: Call, call_ms: list[float]) -> list[Outcome]:
        try:
            predictions = await self._ask(call, call_ms)
            if any(_late(prediction) for prediction in predictions):
                await asyncio.sleep(LATE_ANSWER_S)
                predictions = await self._ask(call, call_ms)
        except RefusedError as error:
            if error.status not in REFUSED_AS_A_WHOLE or error.code == "bad_label":
                raise
            if len(call.rows) == 1:
                return [Outcome(call.rows[0], None, str(error))]
            return [outcome for half in call.halves() for outcome in await self._send(half, call_ms)]
        return [_outcome(row, prediction) for row, prediction in zip(call.rows, predictions, strict=True)]

    async def _ask(self, call: Call, call_ms: list[float]) -> list[dict[str, Any]]:
        body = {
            "texts": [row.text for row in call.rows],
            "true_label": [row.label for row in call.rows],
            "tags": {"evaluation": self.run_id},
        }
        began = time.monotonic()
        answer = await self.gateway.post_patiently(self.path, body, call.key, PATIENCE_S)
        call_ms.append((time.monotonic() - began) * 1000)
        predictions: list[dict[str, Any]] = answer.get("predictions", [])
        if len(predictions) != len(call.rows):
            raise ObservaError(f"the gateway answered {len(predictions)} of {len(call.rows)} texts of a call")
        return predictions


def calls_of(rows: Sequence[LabelledText], run_id: str) -> Iterator[Call]:
    """Cut *rows* into calls that the gateway takes."""
    start, size = 0, 0
    for position, row in enumerate(rows):
        length = len(row.text.encode())
        if position > start and (position - start == TEXTS_PER_CALL or size + length > BYTES_PER_CALL):
            yield Call(f"{run_id}-{start}", tuple(rows[start:position]))
            start, size = position, 0
        size += length
    yield Call(f"{run_id}-{start}", tuple(rows[start:]))


def _late(prediction: dict[str, Any]) -> bool:
    return bool(prediction.get("error", {}).get("code") == "deadline_exceeded")


def _outcome(row: LabelledText, prediction: dict[str, Any]) -> Outcome:
    error = prediction.get("error")
    return Outcome(row, None, f"{error['code']} ({error['status']})") if error else Outcome(row, prediction)
