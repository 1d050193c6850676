"""What a person may change about the gateway, and its defaults."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from broker.addresses import LAST_PORT, LOOPBACK, Host, HostNames, Networks, Port, check_ports, is_loopback, names_in
from broker.settings import BrokerSettings

INTERNAL_PORT = 9000  # where the gateway is exposed
ROOM_RATIO: Final = (
    0.05  # of Redis' maxmemory, for what comes between two rounds of who keeps the log within its budget
)

PATH_PREFIX = r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+"


class GatewaySettings(BrokerSettings):
    """Environment variables ``OBSERVA_GATEWAY_...``."""

    gateway_host: Host = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=LAST_PORT)] = 8000
    gateways: Annotated[int, Field(ge=1, le=64)] = 1  # processes that share the port
    gateway_slot: Annotated[int, Field(ge=0, le=63)] = 0  # which of them this is
    gateway_allowed_hosts: HostNames = (
        ""  # Host headers to answer, separated by commas; empty: loopback names on loopback
    )
    path_prefix: Annotated[str, Field(pattern=f"^({PATH_PREFIX})?$")] = ""  # under which a proxy shows it, as /nlp
    trusted_proxies: Networks = ""  # addresses and networks whose X-Forwarded-Prefix is believed
    # The longest text in its longest spelling, 12 bytes a character (emoji as two JSON escapes), and all fields beside.
    gateway_max_body_bytes: Annotated[int, Field(ge=1024, le=16 << 20)] = 160 << 10
    gateway_header_timeout_s: Annotated[float, Field(gt=0, le=300)] = 10
    gateway_body_timeout_s: Annotated[float, Field(gt=0, le=300)] = 15
    # Of a connection that rests between calls: longer than clients (httpx 5 s, aiohttp 15) and balancers (60) keep one,
    # or it closes while a call is on its way.
    gateway_keep_alive_s: Annotated[int, Field(ge=1, le=3600)] = 75
    gateway_max_connections: Annotated[int, Field(ge=1)] = 4096
    gateway_max_open_texts: Annotated[int, Field(ge=1)] = 2048  # accepted here and not yet answered
    gateway_accept_timeout_s: Annotated[float, Field(gt=0, le=60)] = 1.5  # all tries together
    gateway_max_deadline_ms: Annotated[int, Field(ge=100, le=600_000)] = 60_000  # of a caller who waits
    gateway_queue_ms: Annotated[int, Field(ge=10, le=600_000)] = 1000  # that a waiting caller's text may queue
    gateway_memory_ratio: Annotated[float, Field(gt=0, le=1)] = 0.7  # of Redis' maxmemory: past it nothing is accepted
    gateway_drain_s: Annotated[float, Field(ge=0, le=300)] = 1.0  # from "not ready" to "no new connections"
    gateway_access_log: bool = False  # a line for each call

    gateway_auth: Literal["none", "keys"] | None = None  # unset: none on loopback, keys elsewhere
    gateway_key_requests_per_second: Annotated[int, Field(ge=1)] = 500  # of one caller at all gateways together
    gateway_key_open_requests: Annotated[int, Field(ge=1)] = 512  # of one caller at all gateways together
    gateway_internal_host: Host = "127.0.0.1"
    # Metrics, admin and details; unset: the same port on loopback, 9000 elsewhere. Of several processes the next ports.
    gateway_internal_port: Port | None = None

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        if self.internal_port is not None:  # requests are told apart by their port
            first = self.internal_port - self.gateway_slot
            internal = ("OBSERVA_GATEWAY_INTERNAL_PORT", first, max(self.gateways, self.gateway_slot + 1))
            check_ports(("OBSERVA_GATEWAY_PORT", self.gateway_port, 1), internal)
        return self

    @field_validator("path_prefix")
    @classmethod
    def _is_no_path_of_ours(cls, prefix: str) -> str:
        if prefix.split("/")[1:2] in (["v1"], ["v2"]):
            raise ValueError("must not begin as a path of the gateway does, /v1 or /v2; take another, as /nlp")
        return prefix

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.gateway_memory_ratio < self.log_memory_ratio + ROOM_RATIO:
            raise ValueError(
                f"OBSERVA_GATEWAY_MEMORY_RATIO ({self.gateway_memory_ratio}) must be {ROOM_RATIO} above "
                f"OBSERVA_LOG_MEMORY_RATIO ({self.log_memory_ratio}): up to the second the log fills what it may, and "
                "past the first every caller is refused"
            )
        return self

    @model_validator(mode="after")
    def _keeps_to_the_longest_deadline(self) -> Self:
        if self.sync_deadline_ms > self.gateway_max_deadline_ms:
            raise ValueError(
                f"OBSERVA_SYNC_DEADLINE_MS ({self.sync_deadline_ms}) must be no more than "
                f"OBSERVA_GATEWAY_MAX_DEADLINE_MS ({self.gateway_max_deadline_ms}): a caller who waits and names no "
                "deadline would wait longer than the longest that may be named"
            )
        return self

    @property
    def exposed(self) -> bool:
        """Whether other machines may reach the gateway."""
        return not is_loopback(self.gateway_host)

    @property
    def auth(self) -> Literal["none", "keys"]:
        """What a caller must show."""
        return self.gateway_auth or ("keys" if self.exposed else "none")

    @property
    def internal_port(self) -> int | None:
        """The port that alone shows metrics, admin and details; None: there is one port for all.

        Each of several processes has its own: on the port that they share nobody knows whose metrics he reads.
        """
        if self.gateway_internal_port or self.exposed or self.gateways > 1:
            return (self.gateway_internal_port or INTERNAL_PORT) + self.gateway_slot
        return None

    @property
    def internal_hosts(self) -> frozenset[str]:
        """Host names that are answered on the internal port, beside addresses in figures, which nobody can rebind."""
        return self._named | LOOPBACK

    @property
    def hosts(self) -> frozenset[str]:
        """Host names that are answered, without port; empty means all."""
        return self._named or (frozenset() if self.exposed else LOOPBACK | {self.gateway_host})

    @property
    def _named(self) -> frozenset[str]:
        return names_in(self.gateway_allowed_hosts)
