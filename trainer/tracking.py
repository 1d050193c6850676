"""Every training run in MLflow: a local SQLite file, or the server that MLFLOW_TRACKING_URI names."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker.addresses import without_login
from broker.errors import ObservaError
from broker.manifest import ModelManifest
from trainer.settings import TrainerSettings

LOOPBACK = "127.0.0.1"
LIVE = "live"  # the alias of the version that the pointer file names
SERVER = "MLFLOW_TRACKING_URI"


class TrackingError(ObservaError):
    """MLflow cannot be reached, or refuses what it is told."""


def local_store(cache: Path) -> str:
    """Return the address of the store that is used without a server."""
    return f"sqlite:///{cache / 'mlflow.db'}"


def serve(settings: TrainerSettings) -> None:
    """Become MLflow's page over the local store, on loopback.

    Raises:
        TrackingError: the port is taken.

    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, settings.trainer_mlflow_port))
        except OSError as error:
            raise TrackingError(
                f"port {settings.trainer_mlflow_port} is taken; choose another: OBSERVA_TRAINER_MLFLOW_PORT"
            ) from error
    settings.trainer_cache.mkdir(parents=True, exist_ok=True)
    print(f"MLflow: http://{LOOPBACK}:{settings.trainer_mlflow_port} (Ctrl-C ends it)", flush=True)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # ten processes more, for nothing that is shown
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--host", LOOPBACK, "--port", str(settings.trainer_mlflow_port)),
        *("--backend-store-uri", local_store(settings.trainer_cache)),
        *("--default-artifact-root", (settings.trainer_cache / "mlflow").as_uri()),
    ]
    os.execv(command[0], command)  # noqa: S606 no shell, and only our own words


@contextmanager
def tracked(name: str, cache: Path, run_id: str | None = None) -> Iterator["Run"]:
    """Open a run in the experiment *name*, or go on with *run_id*; without a server it is kept under *cache*.

    A run that cannot be gone on with is said once, and costs the records alone.

    Raises:
        TrackingError: the server that MLFLOW_TRACKING_URI names cannot be used, and nothing was trained yet.

    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # of 7, which take minutes to say that none answers
    os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    import mlflow  # noqa: PLC0415

    logging.getLogger("alembic").setLevel(logging.WARNING)  # a new SQLite file is forty migrations old
    run = _opened(mlflow, name, cache, run_id)
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run.end(status)


class Run:
    """The open run. What it fails to write is said once and costs no training: the truth is the model folder."""

    def __init__(self, run_id: str, artefacts: str) -> None:
        self.id = run_id
        self._artefacts = artefacts
        self._failed = False

    def params(self, params: Mapping[str, Any]) -> None:
        """Log what the model is made with."""
        import mlflow  # noqa: PLC0415

        self.attempt(lambda: mlflow.log_params(dict(params)))

    def tags(self, tags: Mapping[str, str]) -> None:
        """Log what it is made of."""
        import mlflow  # noqa: PLC0415

        self.attempt(lambda: mlflow.set_tags(dict(tags)))

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log *metrics*, of epoch *step* where there are epochs."""
        import mlflow  # noqa: PLC0415

        self.attempt(lambda: mlflow.log_metrics(dict(metrics), step=step))

    def files(self, *paths: Path, folder: str | None = None) -> None:
        """Keep *paths* with the run, in its *folder*."""
        import mlflow  # noqa: PLC0415

        for path in paths:
            self.attempt(lambda path=path: mlflow.log_artifact(str(path), folder))  # type: ignore[misc]

    def mirror(self, folder: Path, manifest: ModelManifest, *, live: bool) -> None:
        """Keep the version *folder* with the run and list it in MLflow's registry."""
        self.attempt(lambda: self._mirror(folder, manifest, live=live))

    def end(self, status: str) -> None:
        """Close the run, also where MLflow failed before: the process may open another."""
        import mlflow  # noqa: PLC0415

        failed, self._failed = self._failed, False
        self.attempt(lambda: mlflow.end_run(status), quiet=failed)

    def attempt(self, write: Callable[[], object], *, quiet: bool = False) -> None:
        """Do *write*; where MLflow fails, say so once on stderr, unless *quiet*, and go on."""
        if self._failed:
            return
        try:
            write()
        except Exception as error:  # noqa: BLE001 a server, a database and a disk fail in their own ways
            self.lose(error, quiet=quiet)

    def lose(self, error: Exception, *, quiet: bool = False) -> None:
        """Write no more to the run, because of *error*."""
        self._failed = True
        if not quiet:
            print(f"trainer: MLflow no longer takes this run ({_line(error)}); going on without", file=sys.stderr)

    def _mirror(self, folder: Path, manifest: ModelManifest, *, live: bool) -> None:
        import mlflow  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        mlflow.log_artifacts(str(folder), "model")
        client = mlflow.MlflowClient()
        try:
            client.get_registered_model(manifest.name)
        except MlflowException:
            client.create_registered_model(manifest.name)
        tags = {"version": manifest.version}  # MLflow counts its own versions
        listed = client.create_model_version(manifest.name, f"{self._artefacts}/model", self.id, tags=tags)
        if live:
            client.set_registered_model_alias(manifest.name, LIVE, listed.version)


def _started(mlflow: Any, name: str, cache: Path, run_id: str | None) -> Any:
    server = os.environ.get(SERVER)
    if not server:
        cache.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(server or local_store(cache))
    if not server:
        os.environ.pop(SERVER, None)  # MLflow notes the store there, and the next run would take it for a server
    artefacts = None if server else (cache / "mlflow").as_uri()
    if mlflow.get_experiment_by_name(name) is None:
        mlflow.create_experiment(name, artifact_location=artefacts)
    mlflow.set_experiment(name)
    return mlflow.start_run(run_id=run_id)


def _opened(mlflow: Any, name: str, cache: Path, run_id: str | None) -> Run:
    try:
        started = _started(mlflow, name, cache, run_id)
    except Exception as error:
        if run_id is not None:
            lost = Run(run_id, "")
            lost.lose(error)
            return lost
        where = without_login(os.environ.get(SERVER) or "the local file")
        raise TrackingError(
            f"MLflow at {where} cannot be used ({_line(error)}); start it, or unset {SERVER} for a local file"
        ) from error
    return Run(started.info.run_id, started.info.artifact_uri)


def _line(error: Exception) -> str:
    return without_login((str(error).strip().splitlines() or [type(error).__name__])[0])[:160]
