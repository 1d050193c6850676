"""What dvc.lock says of a model's files, where they are still the ones that it names."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import yaml

from trainer.settings import ROOT

LOCK: Final = ROOT / "dvc.lock"


def digests(name: str, lock: Path = LOCK) -> dict[str, str]:
    """Return the outputs of the stages of model *name* with the digests that *lock* has for them.

    Empty if there is no lock, or a file differs from it: then the model was made without DVC, or since.
    """
    if not lock.exists():
        return {}
    stages: dict[str, Any] = yaml.safe_load(lock.read_text(encoding="utf-8")).get("stages", {})
    mine = (stage for stage_name, stage in stages.items() if stage_name.endswith(f"@{name}"))
    locked = {out["path"]: out["md5"] for stage in mine for out in stage.get("outs", ())}
    same = all(_digest(lock.parent / path) == digest for path, digest in locked.items())
    return locked if same else {}


def _digest(path: Path) -> str | None:
    """Return the digest of *path* as DVC has it: MD5, of a folder that of its files' names and digests."""
    if not path.exists():
        return None
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = sorted(each for each in path.rglob("*") if each.is_file())
    listed = [{"md5": _digest(each), "relpath": each.relative_to(path).as_posix()} for each in files]
    listed.sort(key=lambda each: str(each["relpath"]))
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
