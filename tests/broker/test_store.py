"""The model store: versions copied by digest, and a pointer that of two changes at once takes one."""

import json
import threading

import pytest

from broker.changes import begin, change, tell
from broker.errors import ModelRefusedError, PointerMovedError, SettingsError, StoreError
from broker.manifest import Canary, Pointer
from broker.settings import BrokerSettings
from broker.store import Store, store_of
from broker.streams import CHANGES
from broker.versions import mirror, wanted
from tests.worker.builders import write_model

ONE = Pointer(version="1", generation=1)


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    """An empty store; what is in memory there behaves as an object store does."""
    return Store(str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path.name}")


@pytest.fixture
def made(tmp_path):
    """A version that was made somewhere else."""
    return write_model(tmp_path / "made", {"words.txt": b"good\n", "model.onnx": b"graph"}, version="2")


def test_a_version_is_copied_with_every_file_and_found_again(store, made, tmp_path):
    assert store.add(made).version == "2"
    assert store.versions("toy") == ["2"]
    folder = store.fetch("toy", "2", tmp_path / "copies")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in made.iterdir()
    }
    assert store.fetch("toy", "2", tmp_path / "copies") == folder
    assert store.manifest("toy", "2").files.keys() == {"words.txt", "model.onnx"}


def test_a_model_that_is_a_link_is_found(made, tmp_path):
    (made.parent / "live.json").write_bytes(ONE.model_dump_json().encode())
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "toy").symlink_to(made.parent)
    assert Store(str(tmp_path / "store")).models() == ["toy"]
    assert Store(str(tmp_path / "store")).versions("toy") == ["2"]


def test_a_damaged_folder_leaves_nothing_in_the_store(store, made):
    (made / "model.onnx").write_bytes(b"grapf")
    with pytest.raises(ModelRefusedError, match="sha256 differs"):
        store.add(made)
    assert store.versions("toy") == []


def test_a_file_that_is_damaged_in_the_store_is_not_kept_here(made, tmp_path):
    store = Store(f"memory://{tmp_path.name}")
    store.add(made)
    store._files.pipe_file(f"{store._root}/toy/2/model.onnx", b"grapf")
    with pytest.raises(ModelRefusedError, match=r"model\.onnx: sha256 differs"):
        store.fetch("toy", "2", tmp_path / "copies")
    assert not (tmp_path / "copies" / "toy" / "2").exists()


def test_a_version_of_which_a_file_is_gone_is_refused(made, tmp_path):
    store = Store(f"memory://{tmp_path.name}")
    store.add(made)
    store._files.rm_file(f"{store._root}/toy/2/model.onnx")
    with pytest.raises(ModelRefusedError, match=r"model\.onnx: cannot be read"):
        store.fetch("toy", "2", tmp_path / "copies")


@pytest.mark.parametrize("name", ["../../../../tmp/evil", "/etc/evil", "a/b", ".hidden", ""])
def test_a_hostile_manifest_in_the_store_writes_nowhere(name, made, tmp_path):
    store = Store(f"memory://{tmp_path.name}")
    manifest = json.loads((made / "model.json").read_text())
    manifest["files"] = {name: "0" * 64}
    store._files.pipe_file(f"{store._root}/toy/2/model.json", json.dumps(manifest).encode())
    with pytest.raises(ModelRefusedError, match="not a plain file"):
        store.fetch("toy", "2", tmp_path / "copies")


def test_a_version_never_changes(store, made, tmp_path):
    store.add(made)
    store.add(made)  # the same again is no change
    (made / "model.json").write_text((made / "model.json").read_text().replace("2026", "2027"))
    with pytest.raises(ModelRefusedError, match="a version never changes"):
        store.add(made)
    if store.folder is None:
        (tmp_path / "copies" / "toy").mkdir(parents=True)
        made.rename(tmp_path / "copies" / "toy" / "2")
        with pytest.raises(ModelRefusedError, match="a version never changes"):
            store.fetch("toy", "2", tmp_path / "copies")


def test_of_many_changes_at_once_one_is_made(store):
    store.replace_pointer("toy", None, ONE)
    before, outcomes, ready = store.pointer("toy"), [], threading.Barrier(8)

    def promote(number):
        ready.wait()
        try:
            Store(str(store)).replace_pointer("toy", before, Pointer(version=f"v{number}", generation=2))
        except PointerMovedError as error:
            outcomes.append(str(error))
        else:
            outcomes.append(number)

    threads = [threading.Thread(target=promote, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [each for each in outcomes if isinstance(each, int)]
    assert store.pointer("toy") == Pointer(version=f"v{winner}", generation=2)
    assert all(f"version v{winner} is live now" in each for each in outcomes if isinstance(each, str))


def test_a_change_of_someone_who_died_halfway_is_finished_by_the_next(tmp_path):
    store = Store(f"memory://{tmp_path.name}")
    store.replace_pointer("toy", None, ONE)
    claimed = Pointer(version="2", generation=2)
    store._files.pipe_file(f"{store._root}/toy/.generations/2.json", claimed.model_dump_json().encode())
    with pytest.raises(PointerMovedError, match="version 2 is live now, generation 2"):
        store.replace_pointer("toy", ONE, Pointer(version="3", generation=2))
    store.replace_pointer("toy", claimed, Pointer(version="3", generation=3))
    assert store.pointer("toy").version == "3"


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "toy").write_text("a file")
    with pytest.raises(StoreError, match="who may write there"):
        Store(str(tmp_path)).replace_pointer("toy", None, ONE)
    with pytest.raises(SettingsError, match="OBSERVA_STORE"):
        Store("nowhere://models")
    with pytest.raises(StoreError, match="Connection refused; check OBSERVA_STORE"):
        Store("ftp://127.0.0.1:1/models")


def test_without_a_store_of_its_own_the_folder_of_the_models_is_the_store(tmp_path):
    assert store_of(BrokerSettings(models=tmp_path)).folder == tmp_path
    assert store_of(BrokerSettings(models=tmp_path, store="memory://there")).folder is None


async def test_a_change_is_counted_mirrored_and_announced(store, redis):
    await begin(store, redis, "toy", "1")
    changed = await change(store, redis, "toy", lambda pointer: pointer.promoted("2"))
    assert changed.pointer == Pointer(version="2", generation=2, previous="1") == store.pointer("toy")
    assert await wanted(redis, "toy") == changed.pointer
    assert [fields for _, fields in await redis.xrange(CHANGES)] == [{b"model": b"toy"}] * 2
    again = await change(store, redis, "toy", lambda pointer: pointer.promoted("2"))
    assert again.pointer.generation == 2
    with pytest.raises(PointerMovedError):
        await begin(store, redis, "toy", "3")
    with pytest.raises(PointerMovedError):
        await change(store, redis, "toy", lambda pointer: pointer.promoted("3"), seen=ONE)


async def test_without_redis_the_store_is_changed_and_redis_learns_it_later(store, redis):
    assert (await begin(store, None, "toy", "1")).untold
    assert await wanted(redis, "toy") is None
    assert await tell(store, redis, "toy") == ""
    assert await wanted(redis, "toy") == ONE


async def test_a_store_that_was_put_back_wins_over_what_redis_remembers(store, redis):
    await begin(store, redis, "toy", "1")
    await mirror(redis, "toy", Pointer(version="9", generation=9))
    assert not await mirror(redis, "toy", ONE)
    changed = await change(store, redis, "toy", lambda pointer: pointer.promoted("2"))
    assert await wanted(redis, "toy") == changed.pointer


def test_promotion_and_rollback_lead_to_each_other_and_end_what_was_tried():
    tried = Pointer(version="1", generation=1, canary=Canary(version="2", share=0.1), shadows={"2": 1.0, "3": 0.5})
    promoted = tried.promoted("2")
    assert (promoted.version, promoted.previous, promoted.canary, promoted.shadows) == ("2", "1", None, {"3": 0.5})
    assert tried.promoted("3").canary == tried.canary
    assert promoted.rolled_back() == promoted.model_copy(update={"version": "1", "previous": "2"})
    assert tried.promoted("1") is tried
    assert tried.rolled_back() is tried
