"""An OpenID Connect provider of another make (pyop), in a process of its own: whoever comes is who the file says."""

import json
import sys
from pathlib import Path

import uvicorn
from Cryptodome.PublicKey import RSA
from jwkest.jwk import RSAKey
from pyop.authz_state import AuthorizationState
from pyop.exceptions import OAuthError
from pyop.provider import Provider
from pyop.subject_identifier import HashBasedSubjectIdentifierFactory
from pyop.userinfo import Userinfo
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route


def app_of(issuer: str, redirect_uri: str, who: Path) -> Starlette:
    """The provider; *who* holds the claims of whoever logs in next."""
    key = RSAKey(key=RSA.generate(2048), kid="one", use="sig", alg="RS256")
    client = {
        "client_id": "observa",
        "client_secret": "a secret between two",
        "redirect_uris": [redirect_uri],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
    }
    places = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks",
    }
    provider = Provider(
        key,
        {
            **{name: place.replace("http:", "https:") for name, place in places.items()},  # it takes no others
            "scopes_supported": ["openid", "profile", "email"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        },
        AuthorizationState(HashBasedSubjectIdentifierFactory("salt")),
        {"observa": client},
        Userinfo({"someone": {}}),
    )
    provider.configuration_information.update(places)

    def configuration(_: Request) -> Response:
        return JSONResponse(provider.provider_configuration.to_dict())

    def jwks(_: Request) -> Response:
        return JSONResponse(provider.jwks)

    def authorize(request: Request) -> Response:
        claims = json.loads(who.read_text())
        asked = provider.parse_authentication_request(str(request.url.query))
        answer = provider.authorize(asked, "someone", extra_id_token_claims=claims)
        return RedirectResponse(answer.request(asked["redirect_uri"]), 303)

    async def token(request: Request) -> Response:
        claims = json.loads(who.read_text())  # noqa: ASYNC240 nobody else waits
        try:
            found = provider.handle_token_request(
                (await request.body()).decode(),
                {"Authorization": request.headers.get("authorization", "")},
                extra_id_token_claims=claims,
            )
        except OAuthError as error:
            return JSONResponse({"error": error.oauth_error}, 400)
        return JSONResponse(found.to_dict())

    def alive(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(
        routes=[
            Route("/healthz", alive),
            Route("/.well-known/openid-configuration", configuration),
            Route("/jwks", jwks),
            Route("/authorize", authorize),
            Route("/token", token, methods=["POST"]),
        ]
    )


if __name__ == "__main__":
    port, back, file = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    uvicorn.run(app_of(f"http://127.0.0.1:{port}", back, file), host="127.0.0.1", port=port, log_level="warning")
