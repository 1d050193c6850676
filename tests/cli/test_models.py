"""``models``, ``promote`` and ``rollback``, as a person runs them."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from redis import Redis

from broker.manifest import Pointer
from cli.registry import move_aliases
from tests.cli.commands import Just
from tests.servers import RedisServer, free_port

MODEL = "sentiment-linear"
SHIPPED = Path(__file__).parents[2] / "models" / MODEL / "1"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with versions 1, which is live, 2 and 3."""
    folder = tmp_path / "models" / MODEL
    for version in "123":
        copy(folder / version, version)
    point(folder, version="1", generation=1)
    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
    monkeypatch.setenv("OBSERVA_MODELS", str(folder.parent))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def copy(folder: Path, version: str) -> None:
    shutil.copytree(SHIPPED, folder)
    manifest = json.loads((folder / "model.json").read_text()) | {"version": version}
    (folder / "model.json").write_text(json.dumps(manifest))


def point(folder: Path, **wanted: object) -> None:
    (folder / "live.json").write_text(Pointer(**wanted).model_dump_json())


def pointer(folder: Path) -> Pointer:
    return Pointer.model_validate_json((folder / "live.json").read_bytes())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's own trial takes seconds; one test runs it."""
    monkeypatch.setattr("cli.promote.try_out", _nothing)


async def _nothing(_folder: Path) -> None:
    return


class Registry(BaseHTTPRequestHandler):
    """The two calls of MLflow's registry that are needed."""

    aliases: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        listed = [{"version": "17", "tags": [{"key": "version", "value": "2"}]}]
        self._answer({"model_versions": listed})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.aliases[asked["alias"]] = asked["version"]
        self._answer({})

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def log_message(self, *_: object) -> None:
        return

    def _answer(self, document: dict[str, object]) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    Registry.aliases = {}
    with HTTPServer(("127.0.0.1", 0), Registry) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{httpd.server_port}")
        yield Registry.aliases
        httpd.shutdown()
        thread.join()


def test_versions_are_listed_with_their_metrics_and_what_they_are_wanted_for(just: Just, store: Path) -> None:
    wanted = {"canary": {"version": "2", "share": 0.1}, "shadows": {"3": 0.5}}
    point(store, version="1", generation=4, **wanted)
    status, said, _ = just("models")
    head, *rows = said.splitlines()
    assert status == 0
    assert head.split()[:5] == ["MODEL", "VERSION", "ROLE", "ACCURACY", "F1"]
    assert all("79.5 %" in row for row in rows)
    assert ["live" in rows[0], "canary 10.0 %" in rows[1], "shadow 50.0 %" in rows[2]] == [True] * 3
    status, said, _ = just("models", MODEL, "--json")
    (document,) = json.loads(said)["models"]
    assert document["wanted"]["generation"] == 4
    assert [(one["version"], one["loaded_by"]) for one in document["versions"]] == [("1", 0), ("2", 0), ("3", 0)]


def test_a_version_that_a_worker_would_serve_is_promoted_and_rolled_back(just: Just, store: Path) -> None:
    status, said, _ = just("promote", MODEL, "2")
    assert status == 0
    assert said.startswith(f"{MODEL} 2 is live (generation 2); before it 1, back with: just rollback {MODEL}")
    assert pointer(store) == Pointer(version="2", generation=2, previous="1")
    status, said, _ = just("rollback", MODEL)
    assert said.startswith(f"{MODEL} 1 is live again (generation 3); 2 is not")
    assert pointer(store) == Pointer(version="1", generation=3, previous="2")


@pytest.mark.usefixtures("quick")
def test_a_version_without_a_reference_is_promoted_with_a_word_of_its_drift(just: Just, store: Path) -> None:
    manifest = json.loads((store / "2" / "model.json").read_text())
    del manifest["files"]["reference.json"]
    (store / "2" / "model.json").write_text(json.dumps(manifest))
    (store / "2" / "reference.json").unlink()
    status, _, told = just("promote", MODEL, "2")
    assert status == 0
    assert "sees no drift; see: just reference" in told
    _, _, told = just("promote", MODEL, "3")
    assert "drift" not in told


@pytest.mark.parametrize("damage", ["changed", "missing", "unlisted", "manifest", "link", "another"])
def test_a_corrupt_or_hostile_folder_is_refused_in_one_line_and_nothing_changes(
    just: Just, store: Path, damage: str
) -> None:
    folder = store / "2"
    match damage:
        case "changed":
            (folder / "weights.npy").write_bytes((folder / "weights.npy").read_bytes()[:-1] + b"x")
        case "missing":
            (folder / "terms.txt").unlink()
        case "unlisted":
            (folder / "more.pkl").write_bytes(b"cos\nsystem\n")
        case "manifest":
            (folder / "model.json").write_text('{"files": {"../../1/model.json": "0"}}')
        case "link":
            (folder / "vocabulary.txt").unlink()
            (folder / "vocabulary.txt").symlink_to("/etc/hostname")
        case "another":
            shutil.rmtree(folder)
            copy(folder, "7")
    status, said, error = just("promote", MODEL, "2")
    assert (status, said) == (2, "")
    assert error.startswith("observa promote: ")
    assert error.count("\n") == 1
    assert pointer(store).version == "1"


@pytest.mark.usefixtures("quick")
def test_a_version_made_elsewhere_is_copied_into_the_store(just: Just, store: Path, tmp_path: Path) -> None:
    copy(tmp_path / "elsewhere", "9")
    assert just("promote", MODEL, "9", "--from", str(tmp_path / "elsewhere"))[0] == 0
    assert (store / "9" / "weights.npy").read_bytes() == (SHIPPED / "weights.npy").read_bytes()
    assert pointer(store).version == "9"


@pytest.mark.usefixtures("quick")
def test_the_first_version_of_a_model_gets_its_pointer(just: Just, store: Path) -> None:
    (store / "live.json").unlink()
    assert just("promote", MODEL, "2")[1].startswith(f"{MODEL} 2 is live (generation 1)")
    status, _, error = just("rollback", MODEL)
    assert (status, error) == (
        2,
        f"observa rollback: {MODEL}: no version was live before 2; choose one with: just models {MODEL}\n",
    )


@pytest.mark.usefixtures("quick")
def test_the_registrys_alias_moves_along(just: Just, registry: dict[str, str]) -> None:
    _, _, error = just("promote", MODEL, "2")
    assert registry == {"live": "17"}
    assert "registry" not in error
    _, _, error = just("promote", MODEL, "3")
    assert "the registry is not told (it lists no sentiment-linear 3)" in error


@pytest.mark.usefixtures("quick")
def test_a_registry_that_is_down_is_told_later(
    just: Just, store: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    status, _, error = just("promote", MODEL, "2")
    assert status == 0
    assert pointer(store).version == "2"
    assert f"the registry is not told (All connection attempts failed); later: just models {MODEL} --mirror" in error
    assert just("models", MODEL, "--mirror")[0] == 1
    aliases = request.getfixturevalue("registry")
    assert just("models", MODEL, "--mirror")[0] == 0
    assert aliases == {"live": "17"}


@pytest.mark.parametrize("address", ["http://me:secret@127.0.0.1:1", "http://me:secret/x@127.0.0.1:1"])
async def test_a_registry_that_is_not_told_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    why = await move_aliases(MODEL, Pointer(version="2", generation=2))
    assert why
    assert "secret" not in why


@pytest.mark.usefixtures("quick")
def test_without_redis_the_store_is_changed_and_redis_can_be_told_later(
    just: Just, store: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBSERVA_REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    status, _, error = just("promote", MODEL, "2")
    assert status == 0
    assert "workers find it in the store within seconds" in error
    assert pointer(store).version == "2"
    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
    assert just("models", "--mirror")[0] == 0
    with Redis(port=server.port, protocol=2) as look:
        assert look.hget(f"observa:{{{MODEL}}}:versions", "live") == b"2"


def test_a_model_that_is_not_there_is_named(just: Just) -> None:
    status, _, error = just("models", "nothing")
    assert (status, error.count("\n")) == (2, 1)
    assert f"has no model nothing with a live.json; there are: {MODEL}" in error
    assert just("rollback", "nothing")[0] == 2
