"""The identity provider, the same for the console and for Grafana."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from broker.errors import SettingsError
from broker.settings import ObservaSettings


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or any(sign in url for sign in " ;,'\""):
        raise ValueError("must begin with http:// or https:// and name a host")
    return url.rstrip("/")


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Claim = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:./-]+=[^'\"\\]+$")]


class OidcSettings(ObservaSettings):
    """Who logs in where, and who of them may do what."""

    oidc_issuer: HttpUrl | None = None  # an OpenID Connect provider: everybody logs in there first; unset: no login
    oidc_client_id: Annotated[str, Field(min_length=1, max_length=256)] = "observa"
    oidc_client_secret_file: Path | None = None
    oidc_scopes: str = "openid profile email"
    oidc_allow: Claim | None = None  # CLAIM=VALUE of those who may log in; unset: whoever the provider knows
    oidc_admin: Claim | None = None  # CLAIM=VALUE of those who may send dead letters again; unset: nobody who logs in

    def oidc_secret(self) -> str | None:
        """Return the secret that the provider knows us by.

        Raises:
            SettingsError: its file cannot be read.

        """
        return read_secret(self.oidc_client_secret_file, "OBSERVA_OIDC_CLIENT_SECRET_FILE")


def read_secret(path: Path | None, setting: str) -> str | None:
    """Return what is in a secret's file, None where none is named.

    Raises:
        SettingsError: it cannot be read; the message names *setting*.

    """
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; check {setting}") from error
