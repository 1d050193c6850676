"""The page of runs."""

import os
from pathlib import Path

import pytest

from tests.servers import free_port
from trainer import tracking
from trainer.settings import TrainerSettings


def test_the_page_of_runs_is_one_server_process_without_executors_of_jobs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    began: list[tuple[list[str], str | None]] = []
    monkeypatch.setattr(
        os, "execv", lambda _, words: began.append((words, os.environ.get("MLFLOW_SERVER_ENABLE_JOB_EXECUTION")))
    )
    for name in ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "true")
    tracking.serve(TrainerSettings(trainer_cache=tmp_path, trainer_mlflow_port=free_port()))
    ((words, jobs),) = began
    assert words[words.index("--workers") + 1] == "1"
    assert jobs == "false"
