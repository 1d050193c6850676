"""The archive as ``forget`` sees it: what an archiver has read must be in files before somebody is erased from them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from redis.asyncio import Redis

from broker.errors import ObservaError
from broker.forgetting import Forgotten
from broker.settings import BrokerSettings
from broker.streams import Tag

if TYPE_CHECKING:
    from broker.archiving import ArchiveWriter


@dataclass(frozen=True, slots=True)
class Archived:
    """The archive, if one is set, of a few tags."""

    redis: Redis
    archive: "ArchiveWriter | None"
    tags: Sequence[Tag]

    @classmethod
    def of(cls, settings: BrokerSettings, redis: Redis, tags: Sequence[Tag]) -> Self:
        """Open the archive that the settings name.

        Raises:
            SettingsError: it cannot be opened here.

        """
        if settings.archive is None:
            return cls(redis, None, tags)
        from broker.archiving import ArchiveWriter  # noqa: PLC0415 - a large library that only an archive needs

        return cls(redis, ArchiveWriter(settings.archive, settings.store_timeout_s), tags)

    async def ids_of(self, subject: str) -> set[str]:
        """Return the ids of all archived requests that *subject* sent."""
        if self.archive is None:
            return set()
        from broker.archived_forgetting import archived_ids_of  # noqa: PLC0415

        return await asyncio.to_thread(archived_ids_of, self.archive, self.tags, subject)

    async def wait_written(self, wait_s: float) -> dict[str, int]:
        """Wait until what is on the log is in files; return the entries of each stream that are not."""
        if self.archive is None:
            return {}
        from broker.archived_forgetting import wait_written  # noqa: PLC0415

        return await wait_written(self.redis, self.tags, wait_s)

    async def forget(self, ids: set[str], forgotten: Forgotten, wait_s: float) -> None:
        """Erase *ids* from the files, and add to *forgotten* what was erased and what is waited for.

        Raises:
            ObservaError: a file cannot be written.

        """
        if self.archive is None:
            return
        from broker.archived_forgetting import forget_archived  # noqa: PLC0415

        forgotten.waiting.update(await self.wait_written(wait_s))
        try:
            erased = await forget_archived(self.redis, self.archive, self.tags, ids)
        except OSError as error:
            raise ObservaError(
                f"the archive {self.archive.url} cannot be changed ({error.strerror or error}); "
                "what the log held is erased; run it again once the archive can be written"
            ) from error
        for kind, count in erased.items():
            forgotten.erased[f"the archive's {kind}"] += count
