"""The identity provider, the same for the console and for Grafana."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from broker.addresses import HttpUrl
from broker.settings import ObservaSettings, read_secret

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
        path = self.oidc_client_secret_file
        return None if path is None else read_secret(path, "OBSERVA_OIDC_CLIENT_SECRET_FILE")
