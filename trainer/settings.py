"""Where the trainer reads and writes."""

from pathlib import Path

from pydantic import Field

from broker.settings import ObservaSettings

ROOT = Path(__file__).parents[1]


class TrainerSettings(ObservaSettings):
    """Folders, as OBSERVA_... in the environment."""

    models: Path = Field(ROOT / "models", description="Where versions are written: models/NAME/VERSION.")
    trainer_cache: Path = Field(ROOT / ".cache" / "trainer", description="Downloads and the local MLflow store.")
    trainer_build: Path = Field(ROOT / "build", description="Where a model's files are while it is made.")
    trainer_mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of `just mlflow`, on loopback.")
    trainer_threads: int = Field(2, ge=1, description="Threads that training may use.")
