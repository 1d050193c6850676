"""A store that does not answer fails in time, and a hung one does not fill the process with threads."""

import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from broker.archived import Archive, Part
from broker.archived_rows import SCHEMAS
from broker.archiving import ArchiveWriter
from broker.bounded_files import MOST_WAITING
from broker.errors import StoreError
from broker.manifest import Pointer
from broker.settings import BrokerSettings
from broker.store import Store, store_of
from broker.streams import Tag

LIMIT_S = 0.2


class Hanging(MemoryFileSystem):
    """Files in memory that answer only while *answers* is set."""

    protocol = "hanging"
    store: ClassVar[dict[str, Any]] = {}
    answers = threading.Event()

    def cat_file(self, *args: Any, **options: Any) -> Any:
        self.answers.wait()
        return super().cat_file(*args, **options)

    def ls(self, *args: Any, **options: Any) -> Any:
        self.answers.wait()
        return super().ls(*args, **options)

    def glob(self, *args: Any, **options: Any) -> Any:
        self.answers.wait()
        return super().glob(*args, **options)

    def pipe_file(self, *args: Any, **options: Any) -> Any:
        self.answers.wait()
        return super().pipe_file(*args, **options)

    def _open(self, *args: Any, **options: Any) -> Any:
        self.answers.wait()
        file = super()._open(*args, **options)
        read = file.read
        file.read = lambda *size: self.answers.wait() and read(*size)
        return file


@pytest.fixture(autouse=True)
def hung() -> Iterator[threading.Event]:
    fsspec.register_implementation("hanging", Hanging, clobber=True)
    before = threading.active_count()
    yield Hanging.answers
    Hanging.answers.set()
    for thread in threading.enumerate():
        if thread.name == "files":
            thread.join(10)
    assert threading.active_count() <= before
    Hanging.answers.clear()
    Hanging.store.clear()


def test_a_store_that_hangs_is_an_error_that_says_so_and_one_that_answers_again_is_used(hung):
    store = Store("hanging://models", LIMIT_S)
    with pytest.raises(StoreError, match=r"hanging://.*no answer within 0.2 s"):
        store.pointer("toy")
    with pytest.raises(StoreError, match="no answer within"):
        store.models()
    hung.set()
    Hanging().pipe_file("hanging://models/toy/live.json", Pointer(version="1", generation=1).model_dump_json().encode())
    assert store.pointer("toy").version == "1"


def test_calls_that_hang_are_so_many_and_no_more():
    store = Store("hanging://models", LIMIT_S)
    for _ in range(MOST_WAITING + 3):
        with pytest.raises(StoreError, match=r"within|hang already"):
            store.pointer("toy")
    assert sum(thread.name == "files" for thread in threading.enumerate()) == MOST_WAITING


def test_an_archive_that_hangs_is_an_error_while_listing_writing_and_in_the_midst_of_a_file(hung):
    archive, part = ArchiveWriter("hanging://archive", LIMIT_S), Part(Tag("toy"), "results", "0" * 16, "1-0", "1-0", 0)
    for call in (lambda: archive.names(""), lambda: archive.write(part, SCHEMAS["results"].empty_table())):
        with pytest.raises(OSError, match="no answer within"):
            call()
    hung.set()
    archive.write(part, SCHEMAS["results"].empty_table())
    assert pa.Table.from_batches(archive.batches(part), SCHEMAS["results"]).num_rows == 0
    with archive.fs.open(f"{archive.root}/{part.path}", "rb") as file:
        hung.clear()
        with pytest.raises(OSError, match="no answer within"):
            file.read(1)


def test_the_time_is_what_the_setting_says_and_folders_of_this_machine_are_called_at_once(tmp_path):
    settings = BrokerSettings(store="hanging://models", store_timeout_s=1)
    with pytest.raises(StoreError, match="within 1 s"):
        store_of(settings).pointer("toy")
    assert Store(str(tmp_path)).folder == tmp_path
    assert Archive(str(tmp_path)).fs.protocol == ("file", "local")


def test_an_error_of_a_storages_own_kind_is_one_that_its_users_wait_out(hung, monkeypatch):
    class HttpError(Exception):
        """As gcsfs and adlfs raise."""

    def fail(*_, **__):
        raise HttpError("503 try again")

    hung.set()
    monkeypatch.setattr(Hanging, "ls", fail)
    with pytest.raises(OSError, match="HttpError: 503 try again"):
        Archive("hanging://archive", LIMIT_S).models()
