import json
import socket

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from tests.servers import wait_until

pytestmark = pytest.mark.live


def test_up_twice_at_the_same_moment_starts_one_stack_and_down_twice_ends_it(stack):
    both = [stack.begin("up"), stack.begin("up")]
    outputs = [process.communicate(timeout=50)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("already running" in output for output in outputs) == 1
    assert stack.ok("status").count("worker-") == 2
    assert "Stopped" in stack.ok("down")
    assert "not running" in stack.ok("down")
    assert stack.run("status")[0] == 3
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", stack.gateway_port)) != 0


def test_a_monitor_that_is_not_current_in_time_is_said_and_the_rest_runs(stack):
    late = {"OBSERVA_START_TIMEOUT_S": "6", "OBSERVA_TEST_MONITOR_SAYS": '{"status": "catching up"}'}
    said = stack.ok("up", **late)
    assert "monitor not ready after 6 s: catching up" in said
    assert "what it shows is of the past" in said
    assert "monitor      ready" not in said
    assert "curl -s http" in said
    assert "bad  monitor: catching up  ->  just logs monitor" in stack.run("doctor")[1]


def test_up_on_a_running_stack_applies_what_it_can_and_names_what_needs_a_restart_with_its_command(stack):
    stack.ok("up")
    assert "3 workers are ready" in stack.ok("up", OBSERVA_WORKERS="3")
    assert len(stack.workers()) == 3
    assert "already running" in stack.ok("up", OBSERVA_WORKERS="3", OBSERVA_API_KEY_FILE="")
    stack.ok("scale", "1")
    del stack.environment["OBSERVA_WORKERS"]
    assert "already running" in stack.ok("up")
    assert len(stack.workers()) == 1, "without a wish for their number it stays"
    wanted = {"OBSERVA_ARCHIVE": ".an archive", "OBSERVA_PAGE_WEBHOOK_URL": "http://pager/secret", "OTEL_X": "1"}
    code, said = stack.run("up", OBSERVA_WORKERS="2", **wanted)
    assert code == 2
    assert said == (
        "observa up: Observa runs with other settings: OBSERVA_ARCHIVE, OBSERVA_PAGE_WEBHOOK_URL, OTEL_X; nothing was "
        "changed. To apply them: just down && OBSERVA_ARCHIVE='.an archive' OBSERVA_PAGE_WEBHOOK_URL=... OTEL_X=1 "
        "just up\n"
    )
    assert len(stack.workers()) == 1
    said = stack.ok("down", **wanted)
    assert "Stopped" in said
    assert "refused" not in said


def test_data_written_before_down_is_there_after_up(stack):
    stack.ok("up")
    with stack.redis() as redis:
        redis.set("kept", "yes")
    stack.ok("down")
    assert (stack.root / "data" / "redis" / "appendonlydir").is_dir()
    stack.ok("up")
    with stack.redis() as redis:
        assert redis.get("kept") == "yes"


def test_killed_processes_come_back(running):
    workers, redis = running.workers(), running.pid("redis")
    assert len(workers) == 2
    for name in (*workers, "redis"):
        running.kill(name)
    killed = {*workers.values(), redis, None}
    wait_until(lambda: running.pid("redis") not in killed, "the server came back")
    wait_until(lambda: len(set(running.workers().values()) - killed) == 2, "two workers came back, in any place")
    wait_until(lambda: running.run("status")[0] == 0, "all are ready")


def test_scaling_keeps_running_workers_and_gives_each_its_port(running):
    before = running.workers()
    assert "3 workers are ready" in running.ok("scale", "3")
    assert len(running.workers()) == 3
    assert before.items() <= running.workers().items()
    running.ok("scale", "1")
    assert running.ok("status").count("worker-") == 1
    running.ok("scale", "2")


def test_redis_arguments_arrive_as_they_were_given(running):
    running.ok("redis", "XADD", "observa:{a b}:requests", "*", "text", 'two  "words"', "empty", "")
    reply = running.ok("redis", "XREVRANGE", "observa:{a b}:requests", "+", "-", "COUNT", "1").splitlines()
    assert [line.split(maxsplit=1) for line in reply[1:]] == [["text", 'two  "words"'], ["empty"]]
    assert running.run("redis", "NOSUCH")[0] == 2


def test_the_address_with_its_password_is_printed_and_nobody_else_may_read_it(running):
    with Redis.from_url(running.ok("redis-url").strip()) as redis:
        assert redis.ping()
    with Redis(port=running.redis_port) as redis, pytest.raises(AuthenticationError):
        redis.ping()
    files = [running.root / "data" / name for name in ("redis.password", "redis.conf")]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]


def test_doctor_names_the_next_command(running):
    password = running.root / "data" / "redis.password"
    password.chmod(0o644)
    with running.redis() as redis:
        redis.xadd("observa:{sentiment}:dead", {"reason": "crashed"})
    code, said = running.run("doctor")
    password.chmod(0o600)
    assert code == 1
    assert f"bad  data: others may read {password}  ->  chmod go= {password}" in said
    assert "ok   gateway: ready" in said
    assert "bad  workers: none serves sentiment  ->  just logs worker" in said
    assert "warn dead letters {sentiment}: 1  ->  just dead" in said


def test_doctor_of_a_stopped_stack_looks_at_ports_and_data(stack):
    folder = stack.root / "data" / "redis"
    folder.mkdir(parents=True)
    (folder / "engine.json").write_text(json.dumps({"engine": "redis", "version": "7.0.15"}))
    said = stack.run("doctor")[1]
    assert "warn stack: not running  ->  just up" in said
    assert f"ok   port {stack.gateway_port}: free for gateway" in said
    assert "was written by redis 7.0.15" in said
    code, said = stack.run("up")
    assert code == 2
    assert "OBSERVA_REDIS_SERVER=/path/to/redis-server" in said


def test_clean_refuses_while_the_stack_runs(running):
    assert running.run("clean", "--yes") == (2, "observa clean: Observa is running; `just down` first\n")


def test_clean_asks_first_and_leaves_what_it_did_not_make(stack):
    (stack.root / "data" / "redis").mkdir(parents=True)
    (stack.root / "data" / "notes").touch()
    assert stack.run("clean")[0] == 2
    assert (stack.root / "data" / "redis").exists()
    for name in ("an archive/sentiment", "backups/one"):
        (stack.root / name).mkdir(parents=True)
    for left in (
        stack.ok("clean", "--yes", OBSERVA_ARCHIVE="an archive"),
        stack.ok("clean", OBSERVA_ARCHIVE="s3://b/a"),
    ):
        assert f"Texts of requests remain in {stack.root}/backups; remove them, too: rm -r {stack.root}/backups" in left
        assert "Texts of requests remain in " in left.replace(f"{stack.root}/backups", "")
    assert (stack.root / "an archive").exists()
    assert [path.name for path in (stack.root / "data").iterdir()] == ["notes"]


def test_a_port_in_use_is_named_before_anything_starts(stack):
    with socket.create_server(("127.0.0.1", stack.monitor_port)):
        code, output = stack.run("up")
    assert code == 2
    assert output == (
        f"observa up: port {stack.monitor_port} is taken by another program: "
        "stop it, or set OBSERVA_MONITOR_PORT to another\n"
    )
    assert not (stack.root / "data").exists()


def test_a_service_that_does_not_start_stops_the_others_and_says_why(stack):
    code, output = stack.run("up", OBSERVA_TEST_FAILS="worker")
    assert code == 2
    assert output.splitlines()[-1].endswith("ended right after its start; observa worker: the model store is empty")
    assert stack.run("status")[0] == 3


def test_up_after_the_supervisor_died_begins_anew(stack):
    stack.ok("up")
    stack.kill("supervisor")
    assert "supervisor has died" in stack.run("status")[1]
    assert "left behind" in stack.ok("up")
    assert stack.run("status")[0] == 0


@pytest.mark.parametrize("count", ["0", "65"])
def test_scaling_out_of_bounds_is_refused(stack, count):
    code, output = stack.run("scale", count)
    assert code == 2
    assert "must be 1 to 64" in output


def test_scaling_finds_a_running_compose_project(stack):
    (stack.root / "compose.yaml").touch()
    docker = stack.root / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\necho "$@" >> {stack.root}/asked\necho 0123abcd\n')
    docker.chmod(0o755)
    assert "3 workers are ready" in stack.ok("scale", "3", PATH=f"{docker.parent}:{stack.environment['PATH']}")
    assert (stack.root / "asked").read_text().splitlines()[
        -1
    ] == "compose up -d --scale worker=3 --no-recreate --wait worker"


def test_an_own_server_is_checked_and_no_other_is_started(stack, own_server):
    stack.ok("up", OBSERVA_REDIS_URL=own_server.url)
    assert not (stack.root / "data" / "redis").exists()
    stack.ok("down", OBSERVA_REDIS_URL=own_server.url)


def test_an_unsafe_server_is_refused_before_anything_starts(stack):
    code, output = stack.run("up", OBSERVA_REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 2
    assert "cannot be reached" in output
    assert not (stack.root / "run" / "processes").exists()
