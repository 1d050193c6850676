"""The outermost layer of the console: which paths there are, who may ask, and what a browser may do with the answer."""

import re
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.http_protocol import SAID
from console.settings import ConsoleSettings

# What the page needs of Gradio; everything else it offers (files, listings, sharing, run history) is not there.
PATHS: Final = re.compile(
    r"/|/healthz|/login|/login/callback|/logout|/config|/theme\.css|/manifest\.json|/favicon\.(?:ico|svg)|/(?:assets|static)/[\w./@-]+|/results/[\w-]+\.csv"
    r"|/gradio_api/(?:queue/(?:join|data)|upload|upload_progress|heartbeat/\w+|cancel|startup-events|run/\w+|reset|app_id)"
    r"|/svelte/[\w./@-]+|/custom_component/[\w./-]+"
)
CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SAME: Final = frozenset({b"", b"same-origin", b"none"})


class Guard:
    """ASGI middleware around Gradio and our own routes."""

    def __init__(self, app: ASGIApp, settings: ConsoleSettings) -> None:
        self._app = app
        self._names = settings.names
        self._headers = _headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it in a word."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                dropped = {name for name, _ in self._headers}
                kept = [(name, value) for name, value in message["headers"] if name.lower() not in dropped]
                message["headers"] = [*kept, *self._headers]
            await send(message)

        if refused := self._refused(scope, headers):
            await _say(refused, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _refused(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if code := self._names.refusal(hosts):
            status, sentence = SAID[code]
            return status, sentence.format(setting=self._names.setting)
        if not PATHS.fullmatch(scope["path"]) or ".." in scope["path"]:
            return 404, "There is nothing here."
        if scope["method"] in CHANGING and not _from_here(headers):
            return 403, "Another site may not ask that."
        return None


def _from_here(headers: dict[bytes, bytes]) -> bool:
    """Tell whether a page of ours sent a request that changes something; a program sends neither header."""
    site, origin, host = (headers.get(name, b"").lower() for name in (b"sec-fetch-site", b"origin", b"host"))
    return site in SAME and (not origin or urlsplit(origin).netloc == host)


def _headers(settings: ConsoleSettings) -> list[tuple[bytes, bytes]]:
    frame = settings.console_grafana_url
    origin = _origin(settings.published(frame)) if frame else "'none'"
    # Gradio's page begins with scripts of its own and makes style attributes as it draws.
    policy = (
        "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; "
        f"worker-src 'self' blob:; frame-src {origin}; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    ]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


async def _say(refused: tuple[int, str], send: Send) -> None:
    status, sentence = refused
    head = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": sentence.encode()})
