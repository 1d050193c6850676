"""OpenID Connect before the console: who is not known to the identity provider sees nothing but the way there."""

import logging
import secrets
import time
from collections.abc import Mapping
from html import escape
from typing import Any

from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from console.settings import ConsoleSettings

HEALTH, LOGIN, CALLBACK, LOGOUT = "/healthz", "/login", "/login/callback", "/logout"

log = logging.getLogger(__name__)


def with_login(app: ASGIApp, settings: ConsoleSettings) -> ASGIApp:
    """Return *app* behind a login if an identity provider is set, as it is otherwise.

    Raises:
        SettingsError: the client secret cannot be read.

    """
    if settings.oidc_issuer is None:
        return app
    return SessionMiddleware(
        _Gate(app, _Login(settings), settings.prefix),
        secret_key=secrets.token_urlsafe(
            32
        ),  # of this process: after a restart everybody is sent to the provider again
        session_cookie="observa_session",
        max_age=int(settings.oidc_session_h * 3600),
        same_site="lax",  # the provider sends the browser back from another site
        https_only=settings.public_url.startswith("https://"),
    )


def may_administer(request: Any) -> bool:
    """Tell whether whoever sent a Gradio *request* may change more than predictions; everybody where nobody logs in."""
    session: Mapping[str, Any] | None = request.request.scope.get("session")
    return session is None or bool(session.get("admin"))


class _Gate:
    def __init__(self, app: ASGIApp, login: "_Login", prefix: str) -> None:
        self._app = app
        self._login = prefix + LOGIN
        self._steps = {LOGIN: login.begin, CALLBACK: login.finish, LOGOUT: login.end}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == HEALTH:
            await self._app(scope, receive, send)
        elif step := self._steps.get(scope["path"]):
            response = await step(Request(scope, receive))
            await response(scope, receive, send)
        elif scope["session"].get("until", 0) > time.time():
            await self._app(scope, receive, send)
        else:
            await self._stranger(scope)(scope, receive, send)

    def _stranger(self, scope: Scope) -> Response:
        if scope["method"] == "GET" and b"text/html" in dict(scope["headers"]).get(b"accept", b""):
            return RedirectResponse(self._login, 303)
        return PlainTextResponse("Log in first: open this console's first page.", 401)


class _Login:
    """The authorization code flow with PKCE; Authlib checks state, nonce, signature, issuer, audience and times."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings
        self._provider = OAuth().register(
            "provider",
            server_metadata_url=f"{settings.oidc_issuer}/.well-known/openid-configuration",
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_secret(),
            client_kwargs={"scope": settings.oidc_scopes, "code_challenge_method": "S256", "timeout": 10},
        )

    async def begin(self, request: Request) -> Response:
        """Send the browser to the provider."""
        request.session.clear()
        try:
            response: Response = await self._provider.authorize_redirect(request, self._settings.public_url + CALLBACK)
        except Exception as error:  # noqa: BLE001 the errors of whichever HTTP client Authlib finds
            return self._failed(error)
        return response

    async def finish(self, request: Request) -> Response:
        """Take the provider's word for who that is."""
        try:
            token = await self._provider.authorize_access_token(request)
        except (OAuthError, JoseError, ValueError, KeyError) as error:
            request.session.clear()
            log.warning("a login was refused: %s", type(error).__name__)
            return self._page(403, "The login did not succeed.", "Try again")
        except Exception as error:  # noqa: BLE001 as above
            return self._failed(error)
        claims: Mapping[str, Any] = token.get("userinfo") or {}
        request.session.clear()
        if not claims or not _has(claims, self._settings.oidc_allow):
            log.warning("a login was refused: not among those who may use this console")
            return self._page(403, "You are known, but may not use this console.", "Log in with another account")
        request.session["until"] = time.time() + self._settings.oidc_session_h * 3600
        request.session["admin"] = self._settings.oidc_admin is not None and _has(claims, self._settings.oidc_admin)
        return RedirectResponse(f"{self._settings.prefix}/", 303)

    async def end(self, request: Request) -> Response:
        """Forget who that was; the provider's own session is the provider's."""
        request.session.clear()
        return self._page(200, "You are logged out.", "Log in")

    def _failed(self, error: Exception) -> Response:
        log.warning("the identity provider cannot be used: %s", type(error).__name__)
        return self._page(502, "The identity provider cannot be reached.", "Try again")

    def _page(self, status: int, sentence: str, link: str) -> Response:
        return HTMLResponse(
            f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<title>Observa</title><body style="font:16px system-ui;max-width:30rem;margin:20vh auto;padding:0 1rem">'
            f"<h1>Observa</h1><p>{escape(sentence)}</p>"
            f'<p><a href="{self._settings.prefix}{LOGIN}">{escape(link)}</a></p>',
            status,
            {"Cache-Control": "no-store"},
        )


def _has(claims: Mapping[str, Any], wanted: str | None) -> bool:
    """Tell whether *claims* hold ``CLAIM=VALUE``, alone or in a list; anything does where nothing is wanted."""
    if wanted is None:
        return True
    name, _, value = wanted.partition("=")
    found = claims.get(name)
    return value in found if isinstance(found, list) else found == value
