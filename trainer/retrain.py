"""A model once more, from its own data and from the labels that came since: a version, and never the live one."""

import shutil
import tempfile
from pathlib import Path

from broker.errors import SettingsError
from broker.settings import BrokerSettings, load_settings
from broker.store import store_of
from trainer.app import train
from trainer.data import DataError
from trainer.datasets import read_dataset
from trainer.params import Params
from trainer.settings import TrainerSettings
from trainer.sources import Feedback

COLLECTED = "feedback"  # the data set's name among those of the model


def retrain(name: str, params: Params, settings: TrainerSettings, *, since: str, least: int) -> Path:
    """Make the next version of model *name* and return its folder; it is registered, and not live.

    The texts stay in no folder of ours: the build folder is for nobody but us, and is removed.

    Raises:
        SettingsError: there is no such model, or texts are not kept.
        DataError: fewer than *least* labelled texts came.
        ObservaError: the version is not good enough, or cannot be written.

    """
    if name not in params.models:
        raise SettingsError(f"params.yaml has no model {name!r}; it has {', '.join(params.models)}")
    if not (settings.models / name / "live.json").exists():
        raise SettingsError(f"{name} has no live version to do better than; run: just train {name}")
    wider = with_collected(name, params, since)
    count = len(read_dataset(COLLECTED, wider, settings.trainer_cache).rows) if least else 0
    if count < least:
        raise DataError(f"{count} labelled texts came since {since}, fewer than {least}; wait, or say --at-least")
    settings.trainer_build.mkdir(parents=True, exist_ok=True)
    build = Path(tempfile.mkdtemp(prefix=f".{name}-again-", dir=settings.trainer_build))  # mode 0700
    try:
        aside = settings.model_copy(update={"trainer_build": build})
        folder = train(name, wider, aside, version=None, live=False)
    finally:
        shutil.rmtree(build, ignore_errors=True)
    _hand_in(folder)
    return folder


def with_collected(name: str, params: Params, since: str) -> Params:
    """Return *params* in which model *name* also learns from its collected labels.

    A label that the model does not know is left out; a text that its own data has keeps the label it has there.
    """
    chosen = params.models[name]
    known = {label: label for label in chosen.labels}
    collected = Feedback(source="feedback", model=name, since=since, relabel=known)
    wider = chosen.model_copy(update={"train_on": (*chosen.train_on, COLLECTED)})
    return params.model_copy(
        update={
            "datasets": params.datasets | {COLLECTED: collected},
            "models": params.models | {name: wider},
        }
    )


def _hand_in(folder: Path) -> None:
    """Put the version into the model store, where that is another place than the folder of models."""
    settings = load_settings(BrokerSettings)
    if settings.store is not None:
        store_of(settings).add(folder)
