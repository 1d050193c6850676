"""What may be set for the console. It knows the gateway and the monitor by their addresses, and nothing of the log."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from broker.addresses import Host, HostNames, HttpUrl, Names, Port, names_of, place, without_login
from broker.oidc import OidcSettings
from broker.settings import read_secret


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(tuple(pair.strip().split("=", 1)) for pair in value.split(",") if pair.strip())


class ConsoleSettings(OidcSettings):
    """One console process."""

    console_host: Host = "127.0.0.1"
    console_port: Port = 7860
    console_allowed_hosts: HostNames = ""  # further Host headers to answer, separated by commas
    console_gateway_url: HttpUrl = "http://127.0.0.1:8000"
    console_admin_url: HttpUrl | None = (
        None  # the gateway's internal port, where it has one; unset: console_gateway_url
    )
    console_monitor_url: HttpUrl = "http://127.0.0.1:8001"
    console_key_file: Path | None = None  # an API key with the scopes predict and feedback, where keys are asked for
    console_admin_key_file: Path | None = None  # a key with the scope admin; unset: console_key_file's
    console_refresh_s: Annotated[float, Field(ge=0.5, le=60)] = 2.0  # between two looks at the gateway and the monitor
    console_mlflow_url: HttpUrl = "http://127.0.0.1:5000"  # a link, while something answers there
    console_prometheus_url: HttpUrl = "http://127.0.0.1:9090"  # a link, while something answers there
    console_grafana_url: HttpUrl | None = None  # of a dashboard, shown in a tab of its own
    # INSIDE=OUTSIDE, separated by commas: where a browser finds what the console asks
    console_published: Annotated[tuple[tuple[HttpUrl, HttpUrl], ...], NoDecode, BeforeValidator(_pairs)] = ()

    oidc_session_h: Annotated[float, Field(gt=0, le=24 * 30)] = 8
    console_public_url: HttpUrl | None = None  # under which a browser reaches the console; unset: host and port

    @property
    def public_url(self) -> str:
        """Where the identity provider sends a browser back to."""
        return (self.console_public_url or "").rstrip("/") or f"http://{place(self.console_host, self.console_port)}"

    @property
    def prefix(self) -> str:
        """The path of `public_url`, without a slash at its end."""
        return urlsplit(self.public_url).path.rstrip("/")

    @property
    def admin_url(self) -> str:
        """Where streams, alarms and redrive are."""
        return self.console_admin_url or self.console_gateway_url

    def published(self, url: str) -> str:
        """Return *url* as a browser reaches it, and as everybody may see it."""
        found = ((inside, outside) for inside, outside in self.console_published if url.startswith(inside))
        inside, outside = next(found, ("", ""))
        return without_login(outside + url.removeprefix(inside))

    @property
    def names(self) -> Names:
        """What the console answers to."""
        return names_of(self.console_host, self.console_allowed_hosts, "OBSERVA_CONSOLE_ALLOWED_HOSTS")

    def key(self, *, admin: bool = False) -> str | None:
        """Return the API key to show.

        Raises:
            SettingsError: its file cannot be read.

        """
        path = (self.console_admin_key_file if admin else None) or self.console_key_file
        return None if path is None else read_secret(path, "OBSERVA_CONSOLE_KEY_FILE and its kin")
