"""Where the commands find the gateway, the monitor and the log."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, FilePath
from pydantic_settings import NoDecode

from broker.addresses import Host, HttpUrl, Port, place
from broker.settings import BrokerSettings


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class CliSettings(BrokerSettings):
    """The variables that the services read, so that a command finds what they use, and two addresses."""

    gateway_url: HttpUrl | None = None  # unset: on this machine, where `just up` lets it listen
    gateway_host: Host = "127.0.0.1"
    gateway_port: Port = 8000
    api_key_file: FilePath | None = None  # holds the key for a gateway that asks for one
    monitor_url: HttpUrl | None = None  # as above
    monitor_host: Host = "127.0.0.1"
    monitor_port: Port = 8001
    retrain_on: Annotated[tuple[Literal["accuracy", "drift"], ...], NoDecode, BeforeValidator(_split)] = ()
    gateway_timeout_s: Annotated[float, Field(gt=0, le=600)] = 60  # longer than the gateway itself waits

    @property
    def gateway(self) -> str:
        """The gateway's address."""
        return self.gateway_url or f"http://{place(self.gateway_host, self.gateway_port)}"

    @property
    def monitor(self) -> str:
        """The monitor's address."""
        return self.monitor_url or f"http://{place(self.monitor_host, self.monitor_port)}"
