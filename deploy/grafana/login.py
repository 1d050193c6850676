"""Grafana's login from the console's settings, as environment variables: ``python -m deploy.grafana.login``."""

import sys
from typing import Any

import httpx

from broker.errors import ObservaError, SettingsError
from broker.oidc import OidcSettings
from broker.settings import load_settings

SECRET = "/run/secrets/oidc"  # noqa: S105 where the secret's file is mounted for Grafana, and no secret


def variables(settings: OidcSettings, provider: dict[str, Any]) -> dict[str, str]:
    """Return Grafana's generic OAuth settings; *provider* is what the identity provider says of itself.

    Raises:
        SettingsError: the provider lacks an address.

    """
    try:
        places = {
            "AUTH_URL": provider["authorization_endpoint"],
            "TOKEN_URL": provider["token_endpoint"],
            "API_URL": provider["userinfo_endpoint"],
        }
    except KeyError as error:
        raise SettingsError(f"{settings.oidc_issuer} names no {error.args[0]}, and Grafana needs one") from error
    found = {
        "ENABLED": "true",
        "NAME": "Observa",
        "CLIENT_ID": settings.oidc_client_id,
        "CLIENT_SECRET__FILE": SECRET,
        "SCOPES": settings.oidc_scopes,
        "USE_PKCE": "true",
        "ROLE_ATTRIBUTE_PATH": _roles(settings),
        "ROLE_ATTRIBUTE_STRICT": "true",  # whoever has no role stays outside
        **places,
    }
    named = {f"GF_AUTH_GENERIC_OAUTH_{name}": value for name, value in found.items()}
    return named | {"GF_AUTH_DISABLE_LOGIN_FORM": "true", "GF_AUTH_ANONYMOUS_ENABLED": "false"}


def _roles(settings: OidcSettings) -> str:
    """Return the JMESPath that gives a role: administrators, whoever else may log in, nobody."""
    admin = f"({_has(settings.oidc_admin)}) && 'Admin'" if settings.oidc_admin else None
    viewer = f"({_has(settings.oidc_allow)}) && 'Viewer'" if settings.oidc_allow else "'Viewer'"
    return f"{admin} || {viewer}" if admin else viewer


def _has(claim: str) -> str:
    name, _, value = claim.partition("=")
    return f"\"{name}\" == '{value}' || contains(not_null(\"{name}\", `[]`), '{value}')"


def main() -> None:
    """Print the variables, one a line, for a file that Grafana's container reads."""
    try:
        settings = load_settings(OidcSettings)
        if settings.oidc_issuer is None:
            raise SettingsError("set OBSERVA_OIDC_ISSUER to your identity provider, as for the console")
        place = f"{settings.oidc_issuer}/.well-known/openid-configuration"
        try:
            provider = httpx.get(place, timeout=10, follow_redirects=True).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise SettingsError(
                f"{place} cannot be read ({type(error).__name__}); check OBSERVA_OIDC_ISSUER"
            ) from error
        for name, value in variables(settings, provider).items():
            print(f"{name}={value}")
    except ObservaError as error:
        sys.exit(f"observa: {error}")


if __name__ == "__main__":
    main()
