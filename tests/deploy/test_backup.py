"""A log saved while it is used, and put into an empty folder."""

import shutil

from tests.deploy.conftest import Stack

STREAM = "observa:{sentiment}:requests"


def fill(stack: Stack) -> None:
    with stack.redis() as redis:
        redis.xgroup_create(STREAM, "workers", id="0", mkstream=True)
        for number in range(5):
            redis.xadd(STREAM, {"text": f"text {number}"})
        redis.xreadgroup("workers", "w", {STREAM: ">"}, count=3)
        first = redis.xrange(STREAM, count=1)[0][0]
        redis.xack(STREAM, "workers", first)
        redis.hset("observa:{sentiment}:answers:1", "id", '{"label":"positive"}')
        redis.hset("observa:{sentiment}:monitor", "state", "what the monitor knows")
        redis.set("observa:{sentiment}:born", "mark")
        redis.expire("observa:{sentiment}:answers:1", 1000)


def facts(stack: Stack) -> list[object]:
    with stack.redis() as redis:
        (group,) = redis.xinfo_groups(STREAM)
        return [
            redis.xrange(STREAM),
            (group["pending"], group["lag"], group["last-delivered-id"], group["entries-read"]),
            redis.hgetall("observa:{sentiment}:answers:1"),
            0 < redis.ttl("observa:{sentiment}:answers:1") <= 1000,
            redis.hgetall("observa:{sentiment}:monitor"),
            redis.get("observa:{sentiment}:born"),
            redis.xinfo_stream(STREAM)["entries-added"],
        ]


def test_a_backup_brings_back_answers_state_and_pending_work_in_an_empty_folder(stack: Stack) -> None:
    stack.ok("up")
    fill(stack)
    before = facts(stack)
    file = str(stack.root / "kept" / "log.tar")
    assert "0.0 MB" in stack.ok("backup", file)
    assert (stack.root / "kept" / "log.tar").stat().st_mode & 0o777 == 0o600
    assert not (stack.root / "data" / "redis" / "dump.rdb").exists()
    code, output = stack.run("backup", file)
    assert code == 2
    assert "exists already" in output
    code, output = stack.run("restore", file)
    assert code == 2
    assert "just down" in output
    stack.ok("down")
    code, output = stack.run("restore", file)
    assert code == 2
    assert "not overwritten" in output
    shutil.rmtree(stack.root / "data")
    assert "just up" in stack.ok("restore", file)
    stack.ok("up")
    assert facts(stack) == before
    with stack.redis() as redis:
        redis.xadd(STREAM, {"text": "after"})
    stack.ok("down")
    stack.ok("up")
    assert len(facts(stack)[0]) == 6


def test_a_damaged_backup_is_refused_in_one_line_and_leaves_the_folder_empty(stack: Stack) -> None:
    file = stack.root / "log.tar"
    stack.ok("up")
    fill(stack)
    stack.ok("backup", str(file))
    stack.ok("down")
    shutil.rmtree(stack.root / "data")
    content = file.read_bytes()
    at = content.index(b"valkey-ver") + 30
    for damaged in (None, b"text" * 1000, content[:at], content[:at] + b"\xff" + content[at + 1 :]):
        file.unlink(missing_ok=True)
        if damaged:
            file.write_bytes(damaged)
        code, output = stack.run("restore", str(file))
        assert code == 2
        assert len(output.strip().splitlines()) == 1
        assert str(file) in output
        assert not (stack.root / "data" / "redis").exists()


def test_the_log_of_a_server_of_ones_own_is_left_to_it(stack: Stack) -> None:
    for command in (["backup"], ["restore", "file"]):
        code, output = stack.run(*command, OBSERVA_REDIS_URL="redis://127.0.0.1:1/0")
        assert code == 2
        assert "your own server" in output
