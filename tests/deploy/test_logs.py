from deploy.local.logs import RotatingLog, last_lines
from deploy.local.settings import StackSettings


def test_lines_of_two_processes_are_never_mixed(tmp_path):
    log = RotatingLog(tmp_path / "worker.log")
    for pid, data in ((1, b"one be"), (2, b"two\ntwo be"), (1, b"gins\n"), (2, b"gins\n")):
        log({"pid": pid, "data": data})
    log.close()
    assert (tmp_path / "worker.log").read_text().splitlines() == ["two", "one begins", "two begins"]


def test_a_full_log_is_rotated_and_old_ones_are_dropped(tmp_path):
    log = RotatingLog(tmp_path / "a.log", max_bytes=10, backups=2)
    for number in range(5):
        log({"pid": 1, "data": f"line {number}\n".encode()})
    log.close()
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"a.log": "line 4\n", "a.log.1": "line 3\n", "a.log.2": "line 2\n"}


def test_every_run_begins_a_log(tmp_path):
    settings = StackSettings(run_dir=tmp_path)
    settings.logs.mkdir()
    for run in ("first", "second"):
        log = RotatingLog(settings.logs / "gateway.log")
        log({"pid": 1, "data": run.encode()})
        log.close()
    assert last_lines(settings, "gateway", 5) == ["second"]
    assert last_lines(settings, "monitor", 5) == []
