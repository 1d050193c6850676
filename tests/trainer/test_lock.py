import hashlib
import json

import yaml

from trainer.lock import digests

ONE, TWO = b"one\n", b"two\n"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def locked(tmp_path):
    folder = tmp_path / "build" / "made" / "exported"
    folder.mkdir(parents=True)
    (folder / "b.txt").write_bytes(TWO)
    (folder / "a.txt").write_bytes(ONE)
    (tmp_path / "build" / "made" / "metrics.json").write_bytes(ONE)
    listed = [{"md5": md5(ONE), "relpath": "a.txt"}, {"md5": md5(TWO), "relpath": "b.txt"}]
    stages = {
        "export@made": {"outs": [{"path": "build/made/exported", "md5": md5(json.dumps(listed).encode()) + ".dir"}]},
        "evaluate@made": {"outs": [{"path": "build/made/metrics.json", "md5": md5(ONE)}]},
        "export@other": {"outs": [{"path": "absent", "md5": "0"}]},
    }
    lock = tmp_path / "dvc.lock"
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    return lock, folder


def test_the_digests_of_a_models_stages_are_those_of_the_lock(tmp_path):
    lock, _ = locked(tmp_path)
    assert set(digests("made", lock)) == {"build/made/exported", "build/made/metrics.json"}


def test_a_file_that_was_made_since_has_none(tmp_path):
    lock, folder = locked(tmp_path)
    (folder / "a.txt").write_bytes(TWO)
    assert digests("made", lock) == {}


def test_without_a_lock_there_are_none(tmp_path):
    assert digests("made", tmp_path / "dvc.lock") == {}
