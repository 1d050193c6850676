"""A request's body and headers, read with limits before anything is parsed."""

import asyncio
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from broker.tracing import TRACEPARENT
from gateway.access import key_of
from gateway.problems import Problem
from gateway.settings import GatewaySettings

JSON: Final = frozenset({"application/json"})
# What the state of a request's scope may hold:
WHOLE: Final = "whole"  # its last byte had come before anybody read the body
HEADERS: Final = "headers"  # its first headers by name
_CLOSE: Final = {"Connection": "close"}  # what is left of the body is not read
MOST_MEMBERS: Final = 64  # of one gzip body (RFC 1952, 2.2)
_WINDOW_BITS: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"x-gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")


async def read(request: Request, settings: GatewaySettings, media_types: frozenset[str] = JSON) -> bytes:
    """Return the whole body.

    Raises:
        Problem: 415 another encoding or media type, 413 too large, 408 too slow.
        ClientDisconnect: the caller went away.

    """
    if _coding(request) != b"identity":
        raise Problem("unsupported_encoding", headers=_CLOSE)
    return await _read(request, settings, media_types)


async def read_inflated(request: Request, settings: GatewaySettings, media_types: frozenset[str]) -> bytes:
    """Return the whole body, which may have come compressed; before and after that it is no larger than allowed.

    Raises:
        Problem: as `read`; 400 it is not compressed as it says.
        ClientDisconnect: the caller went away.

    """
    coding, limit = _coding(request), settings.gateway_max_body_bytes
    if coding == b"identity":
        return await _read(request, settings, media_types)
    if coding not in _WINDOW_BITS:
        raise Problem("unsupported_encoding", headers=_CLOSE)
    return _inflate(await _read(request, settings, media_types), coding, limit)


def _inflate(rest: bytes, coding: bytes, limit: int) -> bytes:
    body = b""
    for _ in range(1 if coding == b"deflate" else MOST_MEMBERS):
        inflater = zlib.decompressobj(_WINDOW_BITS[coding])
        try:
            body += inflater.decompress(rest, limit + 1 - len(body))
        except zlib.error:
            break
        if len(body) > limit:
            raise Problem("body_too_large", max=limit)
        rest = inflater.unused_data
        if inflater.eof and not rest:
            return body
    raise Problem("invalid_compression")


def _coding(request: Request) -> bytes:
    return first_headers(request.scope).get(b"content-encoding", b"identity").lower()


async def _read(request: Request, settings: GatewaySettings, media_types: frozenset[str]) -> bytes:
    headers = first_headers(request.scope)
    if not _is_media_type(headers.get(b"content-type", b""), media_types):
        raise Problem("unsupported_media_type", headers=_CLOSE)
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:12]) > settings.gateway_max_body_bytes:
        raise Problem("body_too_large", headers=_CLOSE, max=settings.gateway_max_body_bytes)
    if WHOLE in request.scope["state"]:  # a timeout would cost more than all that is read here
        return await _receive(request, settings.gateway_max_body_bytes)
    try:
        async with asyncio.timeout(settings.gateway_body_timeout_s):
            return await _receive(request, settings.gateway_max_body_bytes)
    except TimeoutError:
        raise Problem("request_timeout", headers=_CLOSE) from None


def first_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers of a request, of several with one name the first; made once a request."""
    state = scope["state"]
    if HEADERS not in state:
        state[HEADERS] = dict(reversed(scope["headers"]))
    found: dict[bytes, bytes] = state[HEADERS]
    return found


@lru_cache(64)  # what callers send; few differ
def _is_media_type(content_type: bytes, media_types: frozenset[str]) -> bool:
    header = Message()  # the standard library's reader of such headers
    header["Content-Type"] = content_type.decode("latin-1")
    known = header.get_content_type() if content_type else ""
    return known in media_types and header.get_content_charset("utf-8") in {"", "utf-8", "utf8"}


async def _receive(request: Request, limit: int) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise Problem("body_too_large", headers=_CLOSE, max=limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


@dataclass(slots=True)
class Manner:
    """How the caller wants to be answered."""

    waits: bool  # false: 202 at once
    deadline_ms: int
    idempotency_key: str | None
    traceparent: str | None
    key: str  # id of the API key that asks
    one_version: bool = False  # for all texts of the call, whose answers make one tensor


def read_manner(request: Request, settings: GatewaySettings) -> Manner:
    """Read the headers Prefer, X-Deadline-Ms, Idempotency-Key and traceparent.

    Raises:
        Problem: 400, one of them makes no sense.

    """
    headers = first_headers(request.scope)
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",") if b"prefer" in headers else ()
    waits = not any(preference.partition(";")[0].strip() == "respond-async" for preference in preferences)
    key = _text(headers, b"idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem("invalid_idempotency_key")
    if key is not None and request.state.caller:
        key = f"{request.state.caller}\n{key}"  # each caller has keys of its own; a caller's API keys share them
    traceparent = _text(headers, b"traceparent")
    return Manner(
        waits=waits,
        deadline_ms=_deadline_ms(_text(headers, b"x-deadline-ms"), settings, waits=waits),
        idempotency_key=key,
        traceparent=traceparent if traceparent and TRACEPARENT.fullmatch(traceparent) else None,
        key=key_of(request.scope),
    )


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _deadline_ms(wanted: str | None, settings: GatewaySettings, *, waits: bool) -> int:
    usual, most = (
        (settings.sync_deadline_ms, settings.gateway_max_deadline_ms)
        if waits
        else (settings.async_deadline_ms, settings.async_deadline_ms)
    )
    if wanted is None:
        return usual
    if not (wanted.isascii() and wanted.isdigit() and int(wanted[:18]) > 0):
        raise Problem("invalid_deadline")
    return min(int(wanted[:18]), most)
