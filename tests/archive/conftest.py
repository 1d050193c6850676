"""An archiver as a process, on a server and a folder of the test's own."""

from collections.abc import Iterator

import pytest
from redis import Redis as SyncRedis

from broker.archived import Archive
from tests.archive.streams import TAG
from tests.live.services import Process, Services, make_model
from tests.servers import RedisServer, wait_until
from tests.takeover import pair, servers  # noqa: F401 fixtures


class Archiving:
    """The log, the folder, and the archivers of one test."""

    def __init__(self, server: RedisServer, services: Services) -> None:
        self.server = server
        self.services = services
        self.folder = services.folder / "archive"
        self.archive = Archive(str(self.folder))
        self.client = SyncRedis(port=server.port)

    def start(self, **settings: object) -> Process:
        return self.services.archive(OBSERVA_ARCHIVE=self.folder, **settings)

    def all_written(self) -> bool:
        """Whether the group stands at the end of all three streams."""
        return all(self.lag(kind) == 0 for kind in ("requests", "results", "feedback"))

    def lag(self, kind: str) -> int | None:
        if not self.client.exists(TAG.key(kind)):
            return None
        groups = {group["name"]: group for group in self.client.xinfo_groups(TAG.key(kind))}
        return groups[b"archive"]["lag"] if b"archive" in groups else None

    def wait_written(self) -> None:
        wait_until(self.all_written, "everything on the log is in files")


@pytest.fixture
def archiving(own_server, tmp_path) -> Iterator[Archiving]:
    services = Services(own_server, tmp_path, archive_flush_s=0.2, allow_unsafe_redis=True)
    make_model(services.models, TAG.model)
    archiving = Archiving(own_server, services)
    yield archiving
    archiving.client.close()
    services.stop()
