"""``python -m trainer.sourced FOLDER --source CHECKPOINT``: does a version answer as what it was made from?

The worker's own verifier is asked first; what it is told beside ``--source`` it is told as it is.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported

import numpy as np
from tokenizers import Tokenizer

from broker.errors import ModelRefusedError, ObservaError
from broker.manifest import read_manifest
from broker.text import normalise
from trainer.apart import one_line
from trainer.evaluation import alike
from trainer.onnx_model import TransformerGraph
from trainer.stranger import answers, sample
from trainer.verify import LEAST_AGREEMENT_INT8, ROOT, STRANGERS_LIMIT

INTERRUPTED: Final = 130  # as shells say it
UNNAMED: Final = re.compile(r"LABEL_\d+")  # what the libraries call a label that has no name
WANTED: Final = (
    f"the same labels in the same order, the same tokens, at least {LEAST_AGREEMENT_INT8:.0%} answered alike"
)


def compare(folder: Path, source: Path) -> tuple[str, bool]:
    """Return how the version in *folder* agrees with the checkpoint in *source*, and whether that is enough.

    Made-up texts of the version's own words are read by each with its own tokenizer; ours runs as the worker runs it.

    Raises:
        ModelRefusedError: one of them cannot be read, or the version is no transformer.

    """
    manifest = read_manifest(folder)
    if manifest.kind != "transformer":
        raise ModelRefusedError(
            f"{folder} is a {manifest.kind} model; --source compares transformers with a checkpoint"
        )
    tokenizer = (folder / "tokenizer.json").read_bytes()
    graph = TransformerGraph((folder / "model.onnx").read_bytes(), tokenizer, manifest.max_length)
    texts = sample(Tokenizer.from_buffer(tokenizer), manifest.max_length)
    told = answers(source, texts, manifest.max_length)
    labels = tuple(label.strip() for label in told.labels)
    named = not all(UNNAMED.fullmatch(label) for label in labels)
    if len(labels) != len(manifest.labels) or (named and labels != manifest.labels):
        return f"labels {', '.join(labels)} in the checkpoint, {', '.join(manifest.labels)} in the version", False
    read = [normalise(text, manifest.normalisation) for text in texts]
    if other := sum(mine != own for mine, own in zip(graph.encode(read), told.ids, strict=True)):
        return f"{other} of {len(texts)} texts are read as other tokens", False
    served = graph.probabilities(read)
    found = alike(np.array(told.probabilities), served, STRANGERS_LIMIT)
    said = f"{found.share:.2%} of {len(texts) - found.ties} texts, probabilities within {found.difference:.1e}"
    return f"{said}, {found.ties} ties left out", found.share >= LEAST_AGREEMENT_INT8


def main() -> int:
    """Verify, compare, and return the exit status: 0 sound and alike, 1 refused, 2 when there is nothing to verify."""
    parser = argparse.ArgumentParser(prog="just verify-model", add_help=False)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("folder", type=Path)
    chosen, others = parser.parse_known_args()
    command = [sys.executable, "-m", "worker.verify", str(chosen.folder.absolute()), *others]
    status = subprocess.run([*command, *(["--json"] if chosen.json else [])], cwd=ROOT, check=False).returncode  # noqa: S603 words, no shell
    if status:
        return status
    try:
        found, passed = compare(chosen.folder, chosen.source)
    except (ObservaError, OSError) as error:
        print(f"observa: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    if chosen.json:
        print(json.dumps({"name": "source", "found": found, "wanted": WANTED, "passed": passed}))
    else:
        verdict = "it answers as its source" if passed else "refused: it answers otherwise than its source"
        print(f"source: {found}; wanted: {WANTED}\n{verdict}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
