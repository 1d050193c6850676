"""What may be set for the console. It knows the gateway and the monitor by their addresses, and nothing of the log."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from broker.errors import SettingsError
from broker.settings import ObservaSettings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or any(sign in url for sign in " ;,'\""):
        raise ValueError("must begin with http:// or https:// and name a host")
    return url.rstrip("/")


Url = Annotated[str, AfterValidator(_http_url)]


class ConsoleSettings(ObservaSettings):
    """One console process."""

    console_host: str = "127.0.0.1"
    console_port: Annotated[int, Field(ge=1, le=65_535)] = 7860
    console_allowed_hosts: str = ""  # further Host headers to answer, separated by commas
    console_gateway_url: Url = "http://127.0.0.1:8000"
    console_admin_url: Url | None = None  # the gateway's internal port, where it has one; unset: console_gateway_url
    console_monitor_url: Url = "http://127.0.0.1:8001"
    console_key_file: Path | None = None  # an API key with the scopes predict and feedback, where keys are asked for
    console_admin_key_file: Path | None = None  # a key with the scope admin; unset: console_key_file's
    console_refresh_s: Annotated[float, Field(ge=0.5, le=60)] = 2.0  # between two looks at the gateway and the monitor
    console_mlflow_url: Url = "http://127.0.0.1:5000"  # a link, while something answers there
    console_prometheus_url: Url = "http://127.0.0.1:9090"  # a link, while something answers there
    console_grafana_url: Url | None = None  # of a dashboard, shown in a tab of its own

    @property
    def admin_url(self) -> str:
        """Where streams, alarms and redrive are."""
        return self.console_admin_url or self.console_gateway_url

    @property
    def hosts(self) -> list[str]:
        """Host names that are answered, without port."""
        named = {name.strip().lower() for name in self.console_allowed_hosts.split(",") if name.strip()}
        return sorted(named | LOOPBACK | {self.console_host})

    def key(self, *, admin: bool = False) -> str | None:
        """Return the API key to show.

        Raises:
            SettingsError: its file cannot be read.

        """
        path = (self.console_admin_key_file if admin else None) or self.console_key_file
        if path is None:
            return None
        try:
            return path.read_text().strip()
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}; check OBSERVA_CONSOLE_KEY_FILE and its kin") from error
