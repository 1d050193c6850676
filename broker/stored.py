"""What scripts keep as JSON, read back. A value that another program wrote counts as absent, and must stop nothing."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

_WHOLE: Final = re.compile(rb"-?\d{1,18}")
COLUMNS: Final = 4  # of a join row: predicted, confidence, version, label; tags may follow


def first_call(stored: bytes | None) -> tuple[str, tuple[str, ...]] | None:
    """Return the body's digest and the ids of the first call that had an Idempotency-Key."""
    match _decoded(stored):
        case {"body": str(body), "ids": [_, *_] as ids} if _are_strings(ids):
            return body, tuple(ids)
    return None


def has_prediction(join_row: bytes | None) -> bool:
    """Tell whether a join row holds a prediction; one that holds only a label waits for it."""
    row = _decoded(join_row)
    return isinstance(row, list) and len(row) >= COLUMNS and _are_strings(row[:COLUMNS]) and bool(row[0])


def whole_numbers(found: Mapping[bytes, bytes]) -> dict[str, int]:
    """Return the fields of a hash whose values are whole numbers."""
    return {name.decode(): int(value) for name, value in found.items() if name.isascii() and _WHOLE.fullmatch(value)}


def _decoded(stored: bytes | None) -> Any:
    try:
        return orjson.loads(stored or b"null")
    except ValueError:
        return None


def _are_strings(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
