"""A real MLflow server in place of the local file: runs, registry and aliases, and its death in mid-training."""

# ruff: noqa: PLC0415 - imported inside, so that an environment without the libraries can still collect and skip these

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from broker.manifest import Pointer, read_manifest
from tests.servers import free_port, wait_until
from tests.trainer.made import LINEAR, params_of

pytestmark = [
    pytest.mark.trainer,
    pytest.mark.filterwarnings("ignore"),  # mlflow uses what its own libraries deprecate
    pytest.mark.timeout(600),  # its first start took 100 s on a busy machine
]


@pytest.fixture
def server(store, tmp_path, monkeypatch):
    """A server of its own, with its files behind it, as MLFLOW_TRACKING_URI names one elsewhere."""
    port = free_port()
    (tmp_path / "server.db").write_bytes(store.read_bytes())
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"),
        *("--artifacts-destination", str(tmp_path / "artefacts")),
    ]
    # MLflow notes in this process' environment which store and experiment were used last: not the server's business.
    environment = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=tmp_path
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "server.log").read_text()[-2000:]
        with suppress(URLError, OSError), urlopen(f"{address}/health", timeout=2) as answer:
            return answer.status == 200
        return False

    wait_until(answers, "MLflow answers", 300)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait(20)


def test_runs_versions_and_aliases_are_on_the_server_and_its_death_costs_no_training(
    server, tmp_path, monkeypatch, capsys, settings_in
):
    import mlflow

    from cli.registry import move_aliases
    from trainer import linear as kind
    from trainer.app import train

    settings, params = settings_in(tmp_path), params_of(LINEAR, tmp_path)
    for live in (True, False):
        train("made", params, settings, version=None, live=live)
    client = mlflow.MlflowClient()
    listed = client.get_model_version_by_alias("made", "live")
    assert listed.tags["version"] == "1"
    run = client.get_run(listed.run_id)
    assert (run.info.status, run.info.artifact_uri.partition(":")[0]) == ("FINISHED", "mlflow-artifacts")
    assert run.data.metrics["accuracy"] > 0.9
    copied = client.download_artifacts(listed.run_id, "model", str(tmp_path))
    assert read_manifest(Path(copied)).version == "1"

    assert not asyncio.run(move_aliases("made", Pointer(version="2", generation=2)))
    assert client.get_model_version_by_alias("made", "live").tags["version"] == "2"

    fit = kind.fit

    def fit_alone(*arguments):
        os.killpg(server.pid, 9)
        server.wait(20)
        return fit(*arguments)

    monkeypatch.setattr(kind, "fit", fit_alone)
    folder = train("made", params, settings, version=None, live=False)
    assert read_manifest(folder).version == "3"
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trainer:")]
    assert len([line for line in said if "no longer takes this run" in line]) == len(said) > 0
    assert asyncio.run(move_aliases("made", Pointer(version="3", generation=3)))
