"""Requests with their results and true labels, joined by id in bounded memory."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import Feedback, Request, Result
from broker.forgetting import ERASED
from broker.streams import PredictionId, Tag
from cli.reading import order

Line = dict[str, Any]


@dataclass(slots=True)
class _Row:
    entry: tuple[int, int]  # Redis time in ms, and the number within it
    request: Request | None  # None: the entry cannot be read
    result: Result | None = None
    true_label: str | None = None
    shown: Line | None = None

    def take(self, event: Result | Feedback) -> None:
        if isinstance(event, Result):
            self.result = event
        else:
            self.true_label = event.label


@dataclass(slots=True)
class Joined:
    """The newest *limit* requests that were added; results and labels that come early wait, as many."""

    limit: int
    unreadable: int = 0  # results and labels that a newer Observa, or a stranger, wrote
    forgotten: int = 0  # requests dropped before they were shown
    _rows: OrderedDict[str, _Row] = field(default_factory=OrderedDict)
    _early: OrderedDict[str, list[Result | Feedback]] = field(default_factory=OrderedDict)
    _touched: set[str] = field(default_factory=set)

    def add_request(self, tag: Tag, entry_id: str, fields: Mapping[bytes, bytes]) -> None:
        """Take one entry of a request stream; one that was sent again keeps its first line."""
        if ERASED in fields:
            return
        try:
            request: Request | None = Request.from_entry(tag, entry_id, fields)
        except (MalformedEntryError, NewerSchemaError):
            request = None
        identity = request.id if request else str(PredictionId.of_entry(tag, entry_id))
        if identity in self._rows:
            return
        row = self._rows[identity] = _Row(order(entry_id), request)
        for event in self._early.pop(identity, ()):
            row.take(event)
        self._touched.add(identity)
        if len(self._rows) > self.limit:
            oldest, dropped = self._rows.popitem(last=False)
            self._touched.discard(oldest)
            self.forgotten += dropped.shown is None

    def add_result(self, fields: Mapping[bytes, bytes]) -> None:
        """Take one entry of a result stream; what a shadow version says is not the answer."""
        if ERASED in fields:
            return
        try:
            result = Result.from_fields(fields)
        except (MalformedEntryError, NewerSchemaError):
            self.unreadable += 1
            return
        if result.role != "shadow":
            self._add(result)

    def add_feedback(self, fields: Mapping[bytes, bytes]) -> None:
        """Take one entry of a feedback stream; the last label counts."""
        if ERASED in fields:
            return
        try:
            self._add(Feedback.from_fields(fields))
        except (MalformedEntryError, NewerSchemaError):
            self.unreadable += 1

    def lines(self) -> list[Line]:
        """Return every request, oldest first."""
        return [_line(identity, row) for identity, row in sorted(self._rows.items(), key=lambda item: item[1].entry)]

    def news(self) -> list[Line]:
        """Return what was answered since the last call and, marked ``updated``, what changed after it was returned."""
        touched, self._touched = self._touched, set()
        found = []
        for identity in sorted(touched, key=lambda identity: self._rows[identity].entry):
            row = self._rows[identity]
            line = _line(identity, row)
            if line["status"] != "pending" and line != row.shown:
                found.append(line if row.shown is None else line | {"updated": True})
                row.shown = line
        return found

    def _add(self, event: Result | Feedback) -> None:
        row = self._rows.get(event.id)
        if row:
            row.take(event)
            self._touched.add(event.id)
            return
        self._early.setdefault(event.id, []).append(event)
        if len(self._early) > self.limit:
            self._early.popitem(last=False)


def utc(ms: int) -> str:
    """Write Unix milliseconds as ISO 8601, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(identity: str, row: _Row) -> Line:
    request, result = row.request, row.result
    if result is None:
        status = "pending" if request else "unreadable"
    else:
        status = "ok" if result.status == "ok" else result.code or "error"
    return {
        "timestamp": utc(row.entry[0]),
        "id": identity,
        "request_text": request.text if request else None,
        "predicted_sentiment": result.label if result else None,
        "confidence": result.confidence if result else None,
        "version": result.version if result else None,
        "true_sentiment": row.true_label or (request.true_label if request else None),
        "status": status,
    }
