"""What may be set for the archiver; where the archive is, is set in broker/settings.py, as every room may need it."""

from typing import Annotated

from pydantic import Field

from broker.addresses import LAST_PORT, Host
from broker.settings import BrokerSettings


class ArchiveSettings(BrokerSettings):
    """One archiver process."""

    archive_host: Host = "127.0.0.1"
    archive_port: Annotated[int, Field(ge=0, le=LAST_PORT)] = 8003
    archive_flush_s: Annotated[float, Field(gt=0, le=3600)] = 30  # entries wait so long for others to share their file
    archive_flush_mb: Annotated[int, Field(ge=1, le=4096)] = 32  # of entries in memory, all models together
    archive_days: Annotated[int, Field(ge=1, le=3650)] = 90  # then an hour's files are deleted, texts and all
    archive_read_count: Annotated[int, Field(ge=1, le=10_000)] = 500  # entries per read and stream
