"""What the local stack runs, where and how much of it."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from broker.settings import BrokerSettings

ROOT = Path(__file__).resolve().parents[2]
MOST_WORKERS = 64
MOST_GATEWAYS = 64

Port = Annotated[int, Field(ge=1, le=65_535)]


def _workers_for_this_machine() -> int:
    """Two, so that one may die, and up to four where the cores allow it."""
    return max(2, min(4, (os.cpu_count() or 1) // 2))


class StackSettings(BrokerSettings):
    """The settings of `just up` and its companions."""

    run_dir: Path = Path(".run")  # process ids, sockets, logs
    redis_maxmemory: Annotated[str, Field(pattern=r"^[1-9]\d*(kb|mb|gb)$")] = "1gb"
    redis_server: Path | None = None  # a Redis or Valkey server to run in place of the embedded one
    gateway_host: str = "127.0.0.1"
    gateway_port: Port = 8000
    gateways: Annotated[int, Field(ge=1, le=MOST_GATEWAYS)] = 1  # processes that share the port
    gateway_internal_host: str = "127.0.0.1"
    # Where the gateway shows its metrics; unset: 8000, or 9000 if exposed. Several take the ports from there up.
    gateway_internal_port: Port | None = None
    monitor_port: Port = 8001
    worker_metrics_port_base: Port = 9101
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = Field(default_factory=_workers_for_this_machine)
    alerting: bool = True  # run Prometheus and Alertmanager too, where they are installed
    prometheus_port: Port = 9090
    alertmanager_port: Port = 9093
    page_webhook_url: Annotated[str, Field(pattern=r"^https?://")] | None = None  # told at once; nobody by default
    ticket_webhook_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    runbook_base: str = ""  # where docs/ is read, for the links of alerts; empty: this folder
    console: bool = True  # run the web page, too
    console_port: Port = 7860
    explainer: bool = True  # run the process that explains predictions, too
    explainer_port: Port = 8002
    archive_port: Port = 8003
    start_timeout_s: Annotated[float, Field(gt=0)] = 60

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

    def count_of(self, service: str) -> int:
        """Return how many processes of *service* run."""
        return {"worker": self.workers, "gateway": self.gateways}.get(service, 1)
