"""Grafana's login is the console's, from the same settings."""

import jmespath
import pytest

from broker.errors import SettingsError
from broker.oidc import OidcSettings
from deploy.grafana.login import variables

PROVIDER = {
    "authorization_endpoint": "https://id.example/authorize",
    "token_endpoint": "https://id.example/token",
    "userinfo_endpoint": "https://id.example/userinfo",
}
SETTINGS = OidcSettings(oidc_issuer="https://id.example", oidc_allow="groups=staff", oidc_admin="groups=admins")


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["staff", "admins"]}, "Admin"),
        ({"groups": ["staff"]}, "Viewer"),
        ({"groups": "admins"}, "Admin"),
        ({"groups": ["guests"]}, None),
        ({}, None),
    ],
)
def test_claims_give_the_role_that_the_console_would_give(claims, role):
    path = variables(SETTINGS, PROVIDER)["GF_AUTH_GENERIC_OAUTH_ROLE_ATTRIBUTE_PATH"]
    assert (jmespath.search(path, claims) or None) == role


def test_without_rules_everybody_whom_the_provider_knows_may_look():
    path = variables(OidcSettings(oidc_issuer="https://id.example"), PROVIDER)[
        "GF_AUTH_GENERIC_OAUTH_ROLE_ATTRIBUTE_PATH"
    ]
    assert jmespath.search(path, {}) == "Viewer"


def test_addresses_are_the_providers_and_the_secret_is_a_file():
    found = variables(SETTINGS, PROVIDER)
    assert found["GF_AUTH_GENERIC_OAUTH_AUTH_URL"] == "https://id.example/authorize"
    assert found["GF_AUTH_GENERIC_OAUTH_USE_PKCE"] == "true"
    assert "GF_AUTH_GENERIC_OAUTH_CLIENT_SECRET__FILE" in found
    assert "GF_AUTH_GENERIC_OAUTH_CLIENT_SECRET" not in found


def test_a_provider_without_an_address_is_named():
    with pytest.raises(SettingsError, match="userinfo_endpoint"):
        variables(SETTINGS, {name: place for name, place in PROVIDER.items() if name != "userinfo_endpoint"})
