"""What may be set for a worker; the log and the model store are set in broker/settings.py."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from broker.addresses import Host, Port, check_ports
from broker.manifest import ModelName
from broker.settings import BrokerSettings


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


class WorkerSettings(BrokerSettings):
    """One worker process."""

    worker_slot: Annotated[int, Field(ge=0, le=999)] = 0  # its place among the workers of this machine
    worker_metrics_host: Host = "127.0.0.1"
    worker_metrics_port_base: Port = 9101  # the worker listens on this plus its slot
    worker_models: Annotated[tuple[ModelName, ...], NoDecode, BeforeValidator(_split)] = ()  # empty: all in the store
    worker_batch: Annotated[int, Field(ge=1, le=256)] = 32  # most entries read at once

    @model_validator(mode="after")
    def _check_port(self) -> Self:
        check_ports(("OBSERVA_WORKER_METRICS_PORT_BASE", self.worker_metrics_port_base, self.worker_slot + 1))
        return self

    @property
    def metrics_port(self) -> int:
        """The port of /healthz and /metrics."""
        return self.worker_metrics_port_base + self.worker_slot
