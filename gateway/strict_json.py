"""JSON as RFC 8259 means it: one reading only, finite numbers, no trick that another parser would see otherwise."""

import json
import math
from typing import Any, NoReturn

from gateway.problems import Problem

MAX_DEPTH = 20
MAX_DIGITS = 19  # of a whole number: what 64 bits hold


def parse(body: bytes) -> Any:
    """Return the value that *body* stands for.

    Raises:
        Problem: 400 for what is not such JSON, 422 for a string that cannot be stored or sent.

    """
    text = _decode(body)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError:
        raise Problem("invalid_json") from None
    except RecursionError:
        raise Problem("too_deep") from None
    # What is looked for below needs an escape, or more brackets than may be nested.
    if "\\u" in text or text.count("[") + text.count("{") > MAX_DEPTH:
        _inspect(value, 1)
    return value


def _decode(body: bytes) -> str:
    if not body.strip(b" \t\r\n"):
        raise Problem("empty_body")
    if body.startswith(b"\xef\xbb\xbf") or b"\0" in body[:4]:  # a NUL that early: UTF-16 or UTF-32
        raise Problem("invalid_utf8")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem("invalid_utf8") from None


def _inspect(value: Any, depth: int) -> None:
    match value:
        case str():
            _inspect_string(value)
        case dict():
            _descend([*value.keys(), *value.values()], depth)
        case list():
            _descend(value, depth)


def _descend(values: list[Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Problem("too_deep")
    for value in values:
        _inspect(value, depth + 1)


def _inspect_string(text: str) -> None:
    if "\0" in text:
        raise Problem("control_char")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Problem("invalid_unicode") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Problem("duplicate_key")
    return found


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise Problem("invalid_number")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Problem("invalid_number")
    return value


def _constant(_name: str) -> NoReturn:
    raise Problem("invalid_number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole, parse_float=_real, parse_constant=_constant)
