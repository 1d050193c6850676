"""``python -m trainer.importing PATH``: a stranger's model as a verified version in the store."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported

from pydantic import ValidationError

from broker.errors import ModelRefusedError, ObservaError
from broker.manifest import NAME_PATTERN, ModelManifest, digest_of
from broker.settings import load_settings
from broker.text import Normalisation
from trainer.folder import code_revision, make_live, next_version, now, write_version
from trainer.settings import TrainerSettings
from trainer.verify import STRANGERS_LIMIT, require_sound

PICKLES: Final = (".pkl", ".pickle", ".joblib")
CLOSE: Final = 1e-9  # most that arrays may differ from the pipeline they were taken from
UNPICKLE_S: Final = 600.0  # by the clock; of processor time it has less
MOST_WORDS: Final = 10_000  # of a linear model, which reads whole texts
WARNING: Final = "observa: {} is a pickle, which is a program: it now runs with your rights. Trust whoever sent it."


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
    name = chosen.name or re.sub(r"[^a-z0-9._-]+", "-", chosen.path.stem.lower()).strip("-._")
    if not re.fullmatch(NAME_PATTERN, name):
        raise ModelRefusedError(f"{name!r} is no name of a model; give one: --name my-model")
    found = _read(chosen)
    labels = tuple(chosen.labels.split(",")) if chosen.labels else found.labels
    if len(labels) != len(found.labels):
        raise ModelRefusedError(f"--labels names {len(labels)} labels, the model has {len(found.labels)}")
    try:
        manifest = ModelManifest(
            name=name,
            version=next_version(settings.models, name),
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
        raise ModelRefusedError(f"{chosen.path}: {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error
    folder = write_version(settings.models, manifest, found.files, lambda aside: require_sound(aside, STRANGERS_LIMIT))
    if not (settings.models / name / "live.json").exists():
        make_live(settings.models, name, manifest.version)
    return folder


def _read(chosen: argparse.Namespace) -> Imported:
    if chosen.path.is_dir():
        from trainer import stranger  # noqa: PLC0415 it loads the libraries of a whole training

        made, labels, most = stranger.converted(chosen.path, max_length=chosen.max_length, int8=chosen.int8)
        return Imported("transformer", labels, most, made.normalisation, made.files, made.metrics)
    if chosen.path.suffix not in PICKLES or not chosen.path.is_file():
        raise ModelRefusedError(f"{chosen.path} is no folder with config.json and no {', '.join(PICKLES)} file")
    if not chosen.trust_pickle:
        raise ModelRefusedError(
            f"{chosen.path} is a pickle, which is a program; if you trust whoever sent it, add --trust-pickle"
        )
    print(WARNING.format(chosen.path), file=sys.stderr)
    return unpickled(chosen.path)


def unpickled(path: Path) -> Imported:
    """Let a process of its own turn the pickle at *path* into arrays.

    Raises:
        ModelRefusedError: it holds no pipeline that arrays can say, or the arrays answer otherwise.

    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(  # noqa: S603 a fixed command
                [sys.executable, "-m", "trainer.unpickle", str(path.absolute()), folder],
                cwd=Path(__file__).parents[1],
                env={name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=UNPICKLE_S,
            )
        except subprocess.TimeoutExpired:
            raise ModelRefusedError(f"{path}: was not read within {UNPICKLE_S:g} s; nothing was written") from None
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
            raise ModelRefusedError(f"{path}: {reason[:300]}")
        files = {name: Path(folder, name).read_bytes() for name in ("bag.json", "terms.txt", "weights.npy")}
        found = json.loads(Path(folder, "found.json").read_bytes())
    if (difference := found["probability_difference_source"]) > CLOSE:
        raise ModelRefusedError(f"{path}: arrays differ from the pipeline by {difference:.1e} in a probability")
    normalisation = Normalisation(unicode_form=None, lowercase=found["lowercase"], collapse_whitespace=False)
    metrics = {name: float(value) for name, value in found.items() if name.endswith("_source")}
    return Imported("linear", tuple(found["labels"]), MOST_WORDS, normalisation, files, metrics)


def main() -> int:
    """Run the command and return its exit status: 1 with one line of reason when nothing was written."""
    parser = argparse.ArgumentParser(prog="just import-model", description="Serve a model that was made elsewhere.")
    parser.add_argument("path", type=Path, help="a Hugging Face folder, or a scikit-learn pickle")
    parser.add_argument("--name", help="of the model here; default: the path's own")
    parser.add_argument("--labels", help="in id order, with commas; default: the model's own")
    parser.add_argument("--max-length", type=int, help="tokens that are read; default: what the model takes, up to 512")
    parser.add_argument("--target-accuracy", type=float, default=0.80, help="below it the monitor raises an alarm")
    parser.add_argument("--int8", action="store_true", help="eight-bit weights: less memory and time, other rounding")
    parser.add_argument("--trust-pickle", action="store_true", help="run the pickle, once, to convert it")
    chosen = parser.parse_args()
    try:
        folder = import_model(chosen, load_settings(TrainerSettings))
    except ObservaError as error:
        print(f"observa: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"written and verified: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
