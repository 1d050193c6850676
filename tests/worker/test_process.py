import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from broker.announcements import announcements
from broker.streams import CHANGES
from tests.servers import eventually, free_port, wait_until
from tests.worker import graphs
from tests.worker.builders import TAG, fields, pending, results, write_model
from worker.app import main


def environment(store, url="redis://127.0.0.1:1/0", **settings):
    own = {"OBSERVA_REDIS_URL": url, "OBSERVA_MODELS": str(store)}
    return os.environ | own | {f"OBSERVA_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def process(server, store, **settings):
    port = free_port()
    made = environment(store, server.url, worker_metrics_port_base=port, **settings)
    running = subprocess.Popen([sys.executable, "-m", "worker"], env=made, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: get(port, "/healthz")[0] == 200, "the worker is healthy")
        yield running, port
    finally:
        running.kill()
        running.wait(10)
        if running.stderr:
            running.stderr.close()


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@pytest.fixture
def store(tmp_path):
    write_model(tmp_path, {"model.onnx": graphs.linear()}, name="toy", kind="linear")
    return tmp_path


async def test_sigterm_finishes_what_is_held_says_goodbye_and_exits_0(server, redis, store):
    with process(server, store) as (worker, port):
        for n in range(200):
            await redis.xadd(TAG.requests, fields(f"SECRET film {n}", true_label="positive"))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        said = worker.stderr.read()
    assert await pending(redis) == {}
    assert all(each.leaving for each in await announcements(redis, "toy"))
    assert get(port, "/healthz")[0] == 0
    events = [json.loads(line) for line in said.splitlines()]
    assert events[0]["event"] == "model is warm"
    assert "SECRET" not in said
    # What was not read is there for the next worker.
    with process(server, store):

        async def all_answered():
            return len(await results(redis)) == 200

        await eventually(all_answered, "the rest is answered")
    assert await redis.xlen(TAG.feedback) == 200


async def test_sigterm_ends_a_worker_whose_server_is_gone(own_server, store):
    with process(own_server, store) as (worker, port):
        own_server.kill()
        wait_until(lambda: get(port, "/healthz")[0] == 503, "the worker says that it cannot read")
        assert "observa:{toy}:requests" in get(port, "/healthz")[1]
        assert get(port, "/livez")[0] == 200
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0


async def test_results_are_counted_by_label_and_no_text_or_id_is_a_label(server, redis, store):
    with process(server, store) as (_, port):
        await redis.xadd(TAG.requests, fields("good", version="SECRET", pinned=True))
        await redis.xadd(TAG.requests, fields("good"))
        await redis.xadd(TAG.requests, {"nonsense": "SECRET"})
        ok = 'observa_results_total{label="positive",model="toy",role="live",status="ok",version="1"} 1.0'
        wait_until(lambda: ok in get(port, "/metrics")[1], "one result is counted")
        wait_until(lambda: "observa_dead_letters_total{" in get(port, "/metrics")[1], "one dead letter is counted")
        page = get(port, "/metrics")[1]
    assert 'observa_dead_letters_total{model="toy",reason="malformed"} 1.0' in page
    assert 'status="error",version="unknown"} 1.0' in page
    assert 'observa_batch_size_count{model="toy"}' in page
    assert "SECRET" not in page


async def test_a_changed_version_on_the_control_stream_is_announced_at_once(server, redis, store):
    with process(server, store):
        first = (await announcements(redis, "toy"))[0].seen_ms

        async def again():
            await redis.xadd(CHANGES, {"model": "toy"})
            return (await announcements(redis, "toy"))[0].seen_ms > first

        await eventually(again, "another announcement", 4)


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "worker"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"observa worker: {tmp_path}: no model with a live.json")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def refused(monkeypatch, capsys):
    """Start a worker in this process that must not start; return what it says."""
    monkeypatch.setattr("worker.app.log_to_stderr", lambda _: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def start(store, **settings):
        with monkeypatch.context() as patch:
            patch.setattr("os.environ", environment(store, **settings))
            with pytest.raises(SystemExit, match="2"):
                main()
        (said,) = capsys.readouterr().err.splitlines()
        return said

    return start


def test_a_missing_model_is_refused_in_one_line(refused, store):
    assert "other/live.json: cannot be read" in refused(store, worker_models="other")


def test_a_damaged_model_is_refused_in_one_line(refused, store):
    (store / "toy" / "1" / "model.onnx").write_bytes(b"")
    assert "sha256 differs" in refused(store)


def test_a_wrong_setting_is_refused_in_one_line(refused, store):
    assert "OBSERVA_WORKER_BATCH" in refused(store, worker_batch="many")
    assert "OBSERVA_CLAIM_MS=20000" in refused(store, claim_ms=20_000)


def test_a_server_that_cannot_be_reached_is_refused_in_one_line(refused, store):
    assert "cannot be reached" in refused(store, redis_wait_s=0)


def test_a_worker_imports_no_training_library():
    code = (
        "import sys, worker.app, worker.transformer, worker.linear, worker.asyncapi;"
        "print(*sys.modules.keys() & {'torch', 'transformers', 'sklearn', 'onnx', 'scipy', 'pandas', 'mlflow'})"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert printed.strip() == ""


def test_onnx_runtime_reports_to_nobody(server, store, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with process(server, store):
        assert not list(home.rglob("*")), "ONNX Runtime keeps a database of what it would report"
