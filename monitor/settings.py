"""What the monitor may be told, and the rules of its alarms."""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from broker.addresses import LAST_PORT, Host
from broker.settings import BrokerSettings


@dataclass(frozen=True, slots=True)
class Rules:
    """When an alarm begins: sample sizes, and average run lengths between false alarms."""

    minimum_labels: int = 50
    accuracy_window: int = 200  # labels
    accuracy_days: int = 7  # that labels count for, after the day of their prediction
    accuracy_run_length: int = 10_000  # labels between false pages at exactly the target accuracy
    target_accuracy: float = 0.80  # of a version whose manifest is not there
    drift_run_length: int = 1_000_000  # entries between false tickets, per feature and detector
    drift_block: int = 500  # entries per block that is tested for its shape; eight of them are tested together, too
    false_alarm_days: int = 30  # between false alarms of all detectors of a model together, at the traffic seen


class MonitorSettings(BrokerSettings):
    """Read from the environment, prefix ``OBSERVA_``."""

    monitor_host: Host = "127.0.0.1"
    monitor_port: Annotated[int, Field(ge=0, le=LAST_PORT)] = 8001
    monitor_read_count: Annotated[int, Field(ge=1, le=100_000)] = 1000  # entries per read and stream
    monitor_snapshot_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    monitor_snapshot_entries: Annotated[int, Field(ge=1)] = 20_000  # a snapshot at the latest after so many
    monitor_checkpoints: Annotated[int, Field(ge=0, le=1000)] = 28  # states kept, so that the log can be counted again
    monitor_checkpoint_h: Annotated[float, Field(gt=0, le=720)] = 6  # of the entries' time between two of them
    minimum_labels: Annotated[int, Field(ge=10, le=10_000)] = 50
    accuracy_window: Annotated[int, Field(ge=50, le=10_000)] = 200
    accuracy_days: Annotated[int, Field(ge=2, le=366)] | None = (
        None  # that labels count for; None: as long as they join
    )
    accuracy_run_length: Annotated[int, Field(ge=100)] = 10_000
    drift_run_length: Annotated[int, Field(ge=1000)] = 1_000_000
    drift_block: Annotated[int, Field(ge=100, le=100_000)] = 500
    false_alarm_days: Annotated[int, Field(ge=0, le=3650)] = 30

    @property
    def rules(self) -> Rules:
        """The alarm rules of one shard: each shard gets its share of the false alarms that a model may raise."""
        return Rules(
            minimum_labels=min(self.minimum_labels, self.accuracy_window),
            accuracy_window=self.accuracy_window,
            accuracy_days=self.accuracy_days or max(2, math.ceil(self.join_retention_h / 24)),
            accuracy_run_length=self.accuracy_run_length * self.shards,
            drift_run_length=self.drift_run_length * self.shards,
            drift_block=self.drift_block,
            false_alarm_days=self.false_alarm_days * self.shards,
        )
