"""``python -m trainer.importing PATH``: a stranger's model as a verified version in the store."""

import argparse
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to tidy up: `main`

from pydantic import ValidationError

from broker.durable import locked
from broker.errors import ModelRefusedError, ObservaError
from broker.manifest import NAME_PATTERN, ModelManifest, digest_of, live_version, read_manifest
from broker.settings import load_settings
from broker.text import Normalisation
from trainer import unpickle
from trainer.apart import one_line
from trainer.folder import code_revision, make_live, next_version, now, write_version
from trainer.settings import TrainerSettings
from trainer.verify import STRANGERS_LIMIT, require_sound

PICKLE: Final = re.compile(r"\.(pkl|pickle|joblib|sav)(\.(gz|z|bz2|xz|lzma))?$", re.IGNORECASE)
PICKLES: Final = ".pkl, .pickle, .joblib, .sav, each also with .gz, .z, .bz2, .xz or .lzma after it"
MOST_WORDS: Final = 10_000  # of a linear model, which reads whole texts
INTERRUPTED: Final = 130  # as shells say it
AS_IT_IS: Final = Normalisation(unicode_form=None, lowercase=False, collapse_whitespace=False)
WARNING: Final = "observa: {} is a pickle, which is a program: it now runs with your rights. Trust its sender."


@dataclass(frozen=True)
class Imported:
    """What was read, before it is a version."""

    kind: str
    labels: tuple[str, ...]
    max_length: int
    normalisation: Normalisation
    files: dict[str, bytes]
    metrics: dict[str, float]


def import_model(chosen: argparse.Namespace, settings: TrainerSettings) -> Path:
    """Convert what lies at the path, verify it, write it as the next version, and return its folder.

    A model's first version goes live.

    Raises:
        ModelRefusedError: it cannot be converted, or is a pickle that nobody trusts.
        NotGoodEnoughError: the converted model does not answer as its source, or the worker would refuse it.

    """
    name = chosen.name or _name(chosen.path)
    if not re.fullmatch(NAME_PATTERN, name):
        raise ModelRefusedError(f"{name!r} is no name of a model; give one: --name my-model")
    found = _read(chosen)
    own = tuple(label.strip() for label in found.labels)
    labels = tuple(label.strip() for label in chosen.labels.split(",")) if chosen.labels else own
    if len(labels) != len(own):
        raise ModelRefusedError(f"--labels names {len(labels)} labels, the model has {len(own)}")
    if labels != own and sorted(labels) == sorted(own):
        raise ModelRefusedError(f"--labels has the model's own labels in another order; theirs is {', '.join(own)}")
    if odd := [label for label in labels if not label.isprintable()]:
        raise ModelRefusedError(f"the label {odd[0]!r} has control characters; name them anew: --labels")
    with locked(settings.models):  # one after the other: each takes the number after the last
        return _written(chosen, settings.models, name, labels, found)


def _written(chosen: argparse.Namespace, models: Path, name: str, labels: tuple[str, ...], found: Imported) -> Path:
    """Write what was read as the next version, if the worker's verifier finds it sound."""
    try:
        manifest = ModelManifest(
            name=name,
            version=next_version(models, name),
            kind=found.kind,
            labels=labels,
            max_length=found.max_length,
            normalisation=found.normalisation,
            target_accuracy=chosen.target_accuracy,
            metrics=found.metrics,
            data_digest=digest_of(b"".join(digest_of(each).encode() for each in found.files.values())),
            code_revision=code_revision(),
            created=now(),
            files={},
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or f"labels {', '.join(labels)[:200]}"
        raise ModelRefusedError(f"{chosen.path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
    folder = write_version(models, manifest, found.files, lambda aside: require_sound(aside, STRANGERS_LIMIT))
    if not (models / name / "live.json").exists():
        make_live(models, name, manifest.version)
    return folder


def _name(path: Path) -> str:
    """Return the name of a model that was given none: the folder's, or the file's without what says it is a pickle."""
    whole = path.resolve().name
    return re.sub(r"[^a-z0-9._-]+", "-", (whole if path.is_dir() else PICKLE.sub("", whole)).lower()).strip("-._")


def _read(chosen: argparse.Namespace) -> Imported:
    if chosen.path.is_dir():
        from trainer import stranger  # noqa: PLC0415 it loads the libraries of a whole training

        files, told = stranger.converted(chosen.path, max_length=chosen.max_length, int8=chosen.int8)
        return Imported("transformer", told.labels, told.max_length, AS_IT_IS, files, told.metrics)
    if not PICKLE.search(chosen.path.name) or not chosen.path.is_file():
        state = "is no pickle by its name" if chosen.path.exists() else "does not exist"
        raise ModelRefusedError(
            f"{chosen.path} {state}; name a folder with config.json and model.safetensors, or a file {PICKLES}"
        )
    if not chosen.trust_pickle:
        raise ModelRefusedError(
            f"{chosen.path} is a pickle, which is a program; if you trust whoever sent it, add --trust-pickle"
        )
    print(WARNING.format(one_line(chosen.path)), file=sys.stderr)
    files, found = unpickle.unpickled(chosen.path)
    normalisation = Normalisation(unicode_form=None, lowercase=found.lowercase, collapse_whitespace=False)
    return Imported("linear", found.labels, MOST_WORDS, normalisation, files, found.metrics)


def main() -> int:
    """Run the command and return its exit status: 1 with one line of reason when nothing was written."""
    parser = argparse.ArgumentParser(prog="just import-model", description="Serve a model that was made elsewhere.")
    parser.add_argument("path", type=Path, help="a Hugging Face folder, or a scikit-learn pickle")
    parser.add_argument("--name", help="of the model here; default: the path's own")
    parser.add_argument("--labels", help="in id order, with commas; default: the model's own")
    parser.add_argument(
        "--max-length", type=_positive, help="tokens that are read; default: what the model takes, up to 512"
    )
    parser.add_argument("--target-accuracy", type=float, default=0.80, help="below it the monitor raises an alarm")
    parser.add_argument("--int8", action="store_true", help="eight-bit weights: less memory and time, other rounding")
    parser.add_argument("--trust-pickle", action="store_true", help="run the pickle, once, to convert it")
    parser.add_argument("--typed-in", type=Path, default=Path(), help=argparse.SUPPRESS)  # `just` changes folders
    chosen = parser.parse_args()
    chosen.path = chosen.typed_in / chosen.path
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, signal.default_int_handler)  # so that nothing is left
    try:
        folder = import_model(chosen, load_settings(TrainerSettings))
    except ObservaError as error:
        return _said(error, 1)
    except KeyboardInterrupt:
        return _said("interrupted; nothing was written", INTERRUPTED)
    except OSError as error:
        return _said(f"{error.filename or chosen.path}: {error.strerror}; nothing was written", 1)
    print(one_line(f"written and verified: {folder}"))
    print(_next_step(folder))
    return 0


def _next_step(folder: Path) -> str:
    """Return whether the version answers by now, and what to do if not."""
    manifest, live = read_manifest(folder), live_version(folder.parents[1], folder.parent.name)
    count = manifest.metrics["ties_source"]
    ties = f"{count:.0f} of the compared texts were ties and do not count. " if count else ""
    if live == manifest.version:
        return f"{ties}It is live."
    before = read_manifest(folder.with_name(live)).labels
    differ = "" if before == manifest.labels else f" Its labels differ: that one has {', '.join(before)}."
    return (
        f"{ties}It is not live, version {live} is.{differ} To change that: just promote {manifest.name} {folder.name}"
    )


def _positive(said: str) -> int:
    if (number := int(said)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _said(reason: object, status: int) -> int:
    print(f"observa: {one_line(reason)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
