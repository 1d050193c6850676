"""A request's body and headers, read with limits before anything is parsed."""

import asyncio
import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import ClientDisconnect, Request

from broker.tracing import TRACEPARENT
from gateway.problems import Problem
from gateway.settings import GatewaySettings

JSON: Final = frozenset({"application/json"})
_CLOSE: Final = {"Connection": "close"}  # what is left of the body is not read
_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")


async def read(request: Request, settings: GatewaySettings, media_types: frozenset[str] = JSON) -> bytes:
    """Return the whole body.

    Raises:
        Problem: 415 another encoding or media type, 413 too large, 408 too slow.
        ClientDisconnect: the caller went away.

    """
    headers = request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_encoding", headers=_CLOSE)
    _check_media_type(headers.get("content-type", ""), media_types)
    length = headers.get("content-length", "")
    if length.isdigit() and int(length[:12]) > settings.gateway_max_body_bytes:
        raise Problem("body_too_large", headers=_CLOSE, max=settings.gateway_max_body_bytes)
    try:
        async with asyncio.timeout(settings.gateway_body_timeout_s):
            return await _receive(request, settings.gateway_max_body_bytes)
    except TimeoutError:
        raise Problem("request_timeout", headers=_CLOSE) from None


def _check_media_type(content_type: str, media_types: frozenset[str]) -> None:
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.partition("charset=")[2].strip().strip('"').lower()
    if media_type.strip().lower() not in media_types or charset not in {"", "utf-8", "utf8"}:
        raise Problem("unsupported_media_type", headers=_CLOSE)


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


@dataclass(frozen=True, slots=True)
class Manner:
    """How the caller wants to be answered."""

    waits: bool  # false: 202 at once
    deadline_ms: int
    idempotency_key: str | None
    traceparent: str | None


def read_manner(request: Request, settings: GatewaySettings) -> Manner:
    """Read the headers Prefer, X-Deadline-Ms, Idempotency-Key and traceparent.

    Raises:
        Problem: 400, one of them makes no sense.

    """
    headers = request.headers
    preferences = ",".join(headers.getlist("prefer")).lower().split(",") if "prefer" in headers else ()
    waits = not any(preference.partition(";")[0].strip() == "respond-async" for preference in preferences)
    key = headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem("invalid_idempotency_key")
    if key is not None and request.state.caller:
        key = f"{request.state.caller}\n{key}"  # each caller has keys of its own; a caller's API keys share them
    traceparent = headers.get("traceparent", "")
    return Manner(
        waits=waits,
        deadline_ms=_deadline_ms(headers.get("x-deadline-ms"), settings, waits=waits),
        idempotency_key=key,
        traceparent=traceparent if TRACEPARENT.fullmatch(traceparent) else None,
    )


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
