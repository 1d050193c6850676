"""Entries as typed Parquet columns, and back: an archived entry gives the very fields that it had on the log."""

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Union, get_args, get_origin

import pyarrow as pa

from broker.errors import MalformedEntryError, NewerSchemaError
from broker.events import Event, Feedback, Request, Result
from broker.streams import PredictionId, Tag, entry_time_ms

KINDS: Final[dict[str, type[Event]]] = {"requests": Request, "results": Result, "feedback": Feedback}
LARGEST: Final = 2**63 - 1

Entry = tuple[str, dict[bytes, bytes]]  # entry id, fields as Redis returns them


def _column(annotation: Any) -> pa.DataType:
    """Return the column type of an event's field."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return _column(next(part for part in inner if part is not type(None)))
    if origin is Literal:
        return pa.string()
    if origin is dict:
        return pa.map_(pa.string(), _column(inner[1]))
    if origin is tuple:
        return pa.list_(_column(inner[0]))
    if origin is not None:  # Annotated
        return _column(inner[0])
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[annotation]


def _schema(event: type[Event]) -> pa.Schema:
    own = [
        pa.field("entry_id", pa.string(), nullable=False),
        pa.field("logged_at", pa.timestamp("ms", tz="UTC"), nullable=False),  # Redis time of the entry
        pa.field("shard", pa.int32(), nullable=False),
        # As on the log; only where the columns cannot give them back to the letter.
        pa.field("fields", pa.map_(pa.binary(), pa.binary())),
    ]
    return pa.schema([*own, *(pa.field(name, _column(f.annotation)) for name, f in event.model_fields.items())])


SCHEMAS: Final = {kind: _schema(event) for kind, event in KINDS.items()}


def batch_of(tag: Tag, kind: str, entries: Sequence[Entry]) -> pa.RecordBatch:
    """Return *entries* of one stream as columns; one that cannot be read has its id, its time and its fields."""
    return pa.RecordBatch.from_pylist([_row(tag, kind, *entry) for entry in entries], SCHEMAS[kind])


def entries_of(kind: str, batch: pa.RecordBatch) -> Iterator[Entry]:
    """Return the entries that *batch* was made of, in order."""
    event = KINDS[kind]
    names = [name for name in event.model_fields if name in batch.schema.names]
    for row in batch.to_pylist(maps_as_pydicts="lossy"):
        if row["fields"] is not None:
            yield row["entry_id"], row["fields"]
            continue
        values: dict[str, Any] = {name: tuple(v) if isinstance(v := row[name], list) else v for name in names}
        fields = event.model_construct(**values).to_fields()
        yield row["entry_id"], {name.encode(): value.encode() for name, value in fields.items()}


def completed(kind: str, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return *batch*, which an older archiver may have written, with every column of today, empty where it had none."""
    schema = SCHEMAS[kind]
    columns = [
        batch.column(field.name) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _row(tag: Tag, kind: str, entry_id: str, fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "entry_id": entry_id,
        "logged_at": entry_time_ms(entry_id),
        "shard": tag.shard,
        "fields": None,
    }
    event = _read(tag, kind, entry_id, fields)
    if event is None:
        return row | {"fields": list(fields.items())}
    for name, value in event:
        row[name] = list(value.items()) if isinstance(value, dict) else value
    if {name.encode(): value.encode() for name, value in event.to_fields().items()} != fields:
        row["fields"] = list(fields.items())
    return row


def _read(tag: Tag, kind: str, entry_id: str, fields: Mapping[bytes, bytes]) -> Event | None:
    try:
        event = KINDS[kind].from_fields(fields)
    except (MalformedEntryError, NewerSchemaError):
        return None
    if isinstance(event, Request) and not event.id:  # as the worker names it, so that its result is found
        event = event.model_copy(update={"id": str(PredictionId.of_entry(tag, entry_id))})
    too_large = any(isinstance(value, int) and abs(value) > LARGEST for _, value in event)
    return None if too_large else event
