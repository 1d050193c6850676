"""Train a model, vouch for it, and write it as a version: in that order."""

import shutil
from pathlib import Path

from trainer.folder import make_live, next_version
from trainer.job import Job
from trainer.params import Params
from trainer.register import register
from trainer.settings import TrainerSettings
from trainer.stages import METRICS, PICTURES, STAGES, candidate_in, resumed


def train(name: str, params: Params, settings: TrainerSettings, *, version: str | None, live: bool) -> Path:
    """Make the next version of model *name* and return its folder; a model's first version goes live.

    Raises:
        SettingsError: params.yaml has no such model.
        ObservaError: the data cannot be had, or the model is not good enough to be written.

    """
    job = Job(name, params, settings)
    for stage in STAGES.values():
        stage(job)
    return publish(job, version=version, live=live)


def publish(job: Job, *, version: str | None, live: bool) -> Path:
    """Write what the stages made as the next version, list it in MLflow, and return its folder.

    Raises:
        NotGoodEnoughError: it is below its target, or breaks a promise.
        VersionExistsError: the version is there already.

    """
    models = job.settings.models
    STAGES["verify"](job)
    folder, manifest = register(
        models=models,
        name=job.name,
        version=version or next_version(models, job.name),
        params=job.chosen,
        candidate=candidate_in(job),
        splits=job.prepared().splits,
        metrics=job.read(METRICS),
    )
    live = live or not (models / job.name / "live.json").exists()
    with resumed(job) as run:
        run.mirror(folder, manifest, live=live)
    if live:
        make_live(models, job.name, manifest.version)
        for picture in PICTURES:  # beside the card, which speaks of the live version
            shutil.copyfile(job.folder / picture, models / job.name / picture)
    return folder
