"""Train a model, vouch for it, and write it as a version: in that order."""

from pathlib import Path

from broker.errors import SettingsError
from trainer import linear, transformer
from trainer.candidate import Candidate
from trainer.data import examples_of, fetch
from trainer.folder import make_live, next_version
from trainer.params import Params, TransformerParams
from trainer.register import measure, register
from trainer.settings import TrainerSettings
from trainer.splits import Splits, joined, split
from trainer.tracking import Run, tracked


def train(name: str, params: Params, settings: TrainerSettings, *, version: str | None, live: bool) -> Path:
    """Make the next version of model *name* and return its folder; a model's first version goes live.

    Raises:
        SettingsError: params.yaml has no such model.
        ObservaError: the data cannot be had, or the model is not good enough to be written.

    """
    if name not in params.models:
        raise SettingsError(f"params.yaml has no model {name!r}; it has {', '.join(params.models)}")
    chosen = params.models[name]
    vader = fetch(params.archives["vader"], settings.trainer_cache)
    domains = {domain: split(examples_of(domain, params, vader)) for domain in params.domains}
    splits = joined(domains[domain] for domain in chosen.train_domains)
    first = chosen.train_domains[0]
    tests = {first: domains[first].test} | {domain: parts.test for domain, parts in domains.items()}
    with tracked(name, chosen, settings.trainer_cache) as run:
        candidate = _make(name, params, splits, settings, run)
        metrics = measure(candidate, tests, len(chosen.labels))
        run.log(metrics)
        folder, manifest = register(
            models=settings.models,
            name=name,
            version=version or next_version(settings.models, name),
            params=chosen,
            candidate=candidate,
            splits=splits,
            metrics=metrics,
        )
        live = live or not (settings.models / name / "live.json").exists()
        run.mirror(folder, manifest, live=live)
    if live:
        make_live(settings.models, name, manifest.version)
    return folder


def _make(name: str, params: Params, splits: Splits, settings: TrainerSettings, run: Run) -> Candidate:
    chosen = params.models[name]
    if isinstance(chosen, TransformerParams):
        return transformer.make(chosen, params.archives[chosen.encoder], splits, settings, run)
    return linear.make(chosen, splits)
