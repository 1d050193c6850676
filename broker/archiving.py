"""Writing into the archive: each file appears whole or not at all, wherever the writer was killed."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from broker.archived import HOUR_MS, Archive, Part, hour_folder
from broker.durable import sync_folder

_ASIDE: Final = ".unfinished"  # on the same file system, and no reader looks there


class ArchiveWriter(Archive):
    """The archive of somebody who may change it: the archiver, or who forgets somebody."""

    def write(self, part: Part, table: pa.Table, only_if: Callable[[], bool] = lambda: True) -> int:
        """Write *part*, whole or not at all, in place of what has its name; return its size.

        Nothing is written, and 0 returned, where *only_if* says no at the last moment.

        Raises:
            OSError: it could not be written; nothing of it is left.

        """
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=1 << 16)
        content = sink.getvalue()
        if isinstance(self.fs, LocalFileSystem):
            return self._write_aside(part, content, only_if)
        if not only_if():
            return 0
        self.fs.pipe_file(f"{self.root}/{part.path}", content.to_pybytes())  # an object appears whole
        return int(content.size)

    def remove(self, part: Part) -> None:
        """Delete *part*, if it is there."""
        with suppress(FileNotFoundError):
            self.fs.rm_file(f"{self.root}/{part.path}")

    def prepare(self) -> None:
        """Make the folder, for nobody but us, and remove what a writer that was killed left unfinished.

        Raises:
            OSError: it cannot be made.

        """
        if isinstance(self.fs, LocalFileSystem):
            _make_folder(Path(self.root) / _ASIDE)
            for left in Path(self.root, _ASIDE).glob("*"):
                if not _runs(left.suffix.removeprefix(".")):
                    left.unlink(missing_ok=True)

    def drop_before(self, model: str, kind: str, oldest_ms: int) -> int:
        """Delete the hours that ended before *oldest_ms*; return how many."""
        gone = [hour_ms for hour_ms in self.hours(model, kind) if hour_ms + HOUR_MS <= oldest_ms]
        for hour_ms in gone:
            folder = hour_folder(model, kind, hour_ms)
            self.fs.rm(f"{self.root}/{folder}", recursive=True)
            if not self.names(folder.rpartition("/")[0]):
                with suppress(OSError):  # another one has just been written there
                    self.fs.rmdir(f"{self.root}/{folder.rpartition('/')[0]}")
        return len(gone)

    def _write_aside(self, part: Part, content: pa.Buffer, only_if: Callable[[], bool]) -> int:
        target = Path(self.root) / part.path
        aside = (
            Path(self.root)
            / _ASIDE
            / f"{part.tag.model}-{part.tag.shard}-{part.kind}-{part.mark}-{part.first}-{part.last}.{os.getpid()}"
        )
        _make_folder(aside.parent)
        try:
            aside.touch(mode=0o600)
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if not only_if():
                return 0
            _make_folder(target.parent)
            aside.replace(target)
            sync_folder(target.parent)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
        return int(content.size)


def _make_folder(path: Path) -> None:
    """Make *path* and what is missing above it, for nobody but us."""
    for folder in [*reversed(path.parents), path]:
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)


def _runs(pid: str) -> bool:
    return pid.isdigit() and Path("/proc").exists() and Path("/proc", pid).exists()
