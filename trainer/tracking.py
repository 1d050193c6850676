"""Every training run in MLflow: a local SQLite file, or the server that MLFLOW_TRACKING_URI names."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from broker.manifest import ModelManifest
from trainer.params import LinearParams, TransformerParams

LIVE = "live"  # the alias of the version that the pointer file names


@contextmanager
def tracked(name: str, params: TransformerParams | LinearParams, cache: Path) -> Iterator["Run"]:
    """Open a run in the experiment *name* with *params* logged; without a server it is kept under *cache*."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    import mlflow  # noqa: PLC0415

    logging.getLogger("alembic").setLevel(logging.WARNING)  # a new SQLite file is forty migrations old
    artefacts = None
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        cache.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{cache / 'mlflow.db'}")
        artefacts = (cache / "mlflow").as_uri()
    if mlflow.get_experiment_by_name(name) is None:
        mlflow.create_experiment(name, artifact_location=artefacts)
    mlflow.set_experiment(name)
    with mlflow.start_run() as started:
        mlflow.log_params(params.model_dump())
        yield Run(started.info.run_id, started.info.artifact_uri)


class Run:
    """The open run."""

    def __init__(self, run_id: str, artefacts: str) -> None:
        self._run_id = run_id
        self._artefacts = artefacts

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log *metrics*, of epoch *step* where there are epochs."""
        import mlflow  # noqa: PLC0415

        mlflow.log_metrics(dict(metrics), step=step)

    def mirror(self, folder: Path, manifest: ModelManifest, *, live: bool) -> None:
        """Keep the version *folder* with the run and list it in MLflow's registry."""
        import mlflow  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        mlflow.set_tags({"data_digest": manifest.data_digest, "code_revision": manifest.code_revision})
        mlflow.log_artifacts(str(folder), "model")
        client = mlflow.MlflowClient()
        try:
            client.get_registered_model(manifest.name)
        except MlflowException:
            client.create_registered_model(manifest.name)
        tags = {"version": manifest.version}  # MLflow counts its own versions
        listed = client.create_model_version(manifest.name, f"{self._artefacts}/model", self._run_id, tags=tags)
        if live:
            client.set_registered_model_alias(manifest.name, LIVE, listed.version)
