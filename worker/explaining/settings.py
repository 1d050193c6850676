"""What may be set for the explainer; the log and the model store are set in broker/settings.py."""

from typing import Annotated

from pydantic import Field

from broker.addresses import Host, Port
from broker.settings import BrokerSettings


class ExplainerSettings(BrokerSettings):
    """One explainer process."""

    explainer_host: Host = "127.0.0.1"
    explainer_port: Port = 8002  # of /healthz and /metrics
    explainer_evaluations: Annotated[int, Field(ge=16, le=10_000)] = 300  # most texts the model is asked about for one
    explainer_claim_ms: Annotated[int, Field(ge=2000, le=60_000)] = 15_000  # not heard of for so long: taken over
    explainer_nice: Annotated[int, Field(ge=0, le=19)] = 10  # answers come first: how far behind them it queues
