"""What the local stack runs, where and how much of it."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from broker.addresses import Host, Port, check_ports, is_loopback
from broker.settings import BrokerSettings, Folder

ROOT = Path(__file__).resolve().parents[2]
MOST_WORKERS = 64
MOST_GATEWAYS = 64
EXPOSED_INTERNAL_PORT = 9000  # the gateway's default

Webhook = Annotated[str, Field(pattern=r"^https?://[^/\s]+\S*$")]


def _workers_for_this_machine() -> int:
    """Two, so that one may die, and up to four where the cores allow it."""
    return max(2, min(4, (os.cpu_count() or 1) // 2))


class StackSettings(BrokerSettings):
    """The settings of `just up` and its companions."""

    run_dir: Folder = Path(".run")  # process ids, sockets, logs
    redis_maxmemory: Annotated[str, Field(pattern=r"^[1-9]\d*(kb|mb|gb)$")] = "1gb"
    redis_server: Path | None = None  # a Redis or Valkey server to run in place of the embedded one
    gateway_host: Host = "127.0.0.1"
    gateway_port: Port = 8000
    gateway_auth: Literal["none", "keys"] | None = None  # unset: none on loopback, keys elsewhere
    api_key_file: Path | None = None  # that a caller of this machine shows
    gateways: Annotated[int, Field(ge=1, le=MOST_GATEWAYS)] = 1  # processes that share the port
    gateway_internal_host: Host = "127.0.0.1"
    # Where the gateway shows its metrics; unset: 8000, or 9000 if exposed. Several take the ports from there up.
    gateway_internal_port: Port | None = None
    monitor_host: Host = "127.0.0.1"
    monitor_port: Port = 8001
    worker_metrics_host: Host = "127.0.0.1"
    worker_metrics_port_base: Port = 9101
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = Field(default_factory=_workers_for_this_machine)
    alerting: bool = True  # run Prometheus and Alertmanager too, where they are installed
    prometheus_port: Port = 9090
    alertmanager_port: Port = 9093
    page_webhook_url: Webhook | None = None  # told at once; unset: no message is sent
    ticket_webhook_url: Webhook | None = None
    runbook_base: str = ""  # where docs/ is read, for the links of alerts; empty: this folder
    console: bool = True  # run the web page, too
    console_host: Host = "127.0.0.1"
    console_port: Port = 7860
    explainer: bool = True  # run the process that explains predictions, too
    explainer_host: Host = "127.0.0.1"
    explainer_port: Port = 8002
    archive_host: Host = "127.0.0.1"
    archive_port: Port = 8003
    start_timeout_s: Annotated[float, Field(gt=0)] = 60

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        wanted = {
            "REDIS_PORT": (self.redis_port, self.embedded),
            "GATEWAY_PORT": (self.gateway_port, 1),
            "GATEWAY_INTERNAL_PORT": (self.first_internal_port, self.gateways * self.has_internal_port),
            "MONITOR_PORT": (self.monitor_port, 1),
            "WORKER_METRICS_PORT_BASE": (self.worker_metrics_port_base, self.workers),
            "ARCHIVE_PORT": (self.archive_port, self.archive is not None),
            "CONSOLE_PORT": (self.console_port, self.console),
            "EXPLAINER_PORT": (self.explainer_port, self.explainer),
            "PROMETHEUS_PORT": (self.prometheus_port, self.alerting),
            "ALERTMANAGER_PORT": (self.alertmanager_port, self.alerting),
        }
        check_ports(*((f"OBSERVA_{name}", first, int(count)) for name, (first, count) in wanted.items() if count))
        return self

    @property
    def has_internal_port(self) -> bool:
        """Tell whether gateways show their metrics on ports of their own."""
        return bool(self.gateway_internal_port or not is_loopback(self.gateway_host) or self.gateways > 1)

    @property
    def asks_for_keys(self) -> bool:
        """Tell whether the gateway wants an API key of its callers."""
        return (self.gateway_auth or ("none" if is_loopback(self.gateway_host) else "keys")) == "keys"

    @property
    def first_internal_port(self) -> int:
        """The first gateway's port of its own, if it has one."""
        return self.gateway_internal_port or EXPOSED_INTERNAL_PORT

    @property
    def embedded(self) -> bool:
        """Tell whether the stack runs the server itself: nobody named another one."""
        return self.redis_url is None

    @property
    def embedded_password_file(self) -> Path:
        """The embedded server's password, mode 0600."""
        return (self.redis_password_file or self.data_dir / "redis.password").resolve()

    @property
    def redis_dir(self) -> Path:
        """The embedded server's append-only file and its engine stamp."""
        return self.data_dir.resolve() / "redis"

    @property
    def logs(self) -> Path:
        """One log a service."""
        return self.run_dir.resolve() / "logs"

    @property
    def processes(self) -> Path:
        """One lock file a running process."""
        return self.run_dir.resolve() / "processes"

    @property
    def services(self) -> tuple[str, ...]:
        """What runs without fail, the log first."""
        archive = ("archive",) * (self.archive is not None)
        return ("redis",) * self.embedded + ("gateway", "worker", "monitor", *archive)

    def host_of(self, service: str) -> str:
        """Return the host on which *service* listens; Redis, Prometheus and Alertmanager know loopback alone."""
        return {
            "gateway": self.gateway_host,
            "monitor": self.monitor_host,
            "worker": self.worker_metrics_host,
            "archive": self.archive_host,
            "console": self.console_host,
            "explainer": self.explainer_host,
        }.get(service, "127.0.0.1")

    def count_of(self, service: str) -> int:
        """Return how many processes of *service* run."""
        return {"worker": self.workers, "gateway": self.gateways}.get(service, 1)
