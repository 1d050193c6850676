"""What a person may change about the gateway, and its defaults."""

from typing import Annotated

from pydantic import Field

from broker.settings import BrokerSettings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class GatewaySettings(BrokerSettings):
    """Environment variables ``OBSERVA_GATEWAY_...``."""

    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    gateway_allowed_hosts: str = ""  # Host headers to answer, separated by commas; empty: loopback names on loopback
    gateway_max_body_bytes: Annotated[int, Field(ge=1024, le=16 << 20)] = 64 << 10
    gateway_header_timeout_s: Annotated[float, Field(gt=0, le=300)] = 10
    gateway_body_timeout_s: Annotated[float, Field(gt=0, le=300)] = 15
    gateway_max_connections: Annotated[int, Field(ge=1)] = 4096
    gateway_max_open_texts: Annotated[int, Field(ge=1)] = 2048  # accepted here and not yet answered
    gateway_accept_timeout_s: Annotated[float, Field(gt=0, le=60)] = 1.5  # all tries together
    gateway_max_deadline_ms: Annotated[int, Field(ge=100, le=600_000)] = 60_000  # of a caller who waits
    gateway_memory_ratio: Annotated[float, Field(gt=0, le=1)] = 0.7  # of Redis' maxmemory: past it nothing is accepted
    gateway_drain_s: Annotated[float, Field(ge=0, le=300)] = 1.0  # from "not ready" to "no new connections"

    @property
    def hosts(self) -> frozenset[str]:
        """Host names that are answered, without port; empty means all."""
        named = frozenset(name.strip().lower() for name in self.gateway_allowed_hosts.split(",") if name.strip())
        return named or (LOOPBACK if self.gateway_host in LOOPBACK else frozenset())
