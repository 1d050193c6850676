"""A finished version on disk: all of it or nothing, never changed afterwards."""

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from broker.durable import sync_folder, write
from broker.errors import ObservaError
from broker.manifest import ModelManifest, Pointer, digest_of, read_verified
from broker.store import Store

GIT_S = 10.0
UNVERSIONED = "unversioned"  # the code revision where there is no git history


class VersionExistsError(ObservaError):
    """A version is written once."""


def next_version(models: Path, name: str) -> str:
    """Return the number after the highest numbered version of *name* under *models*."""
    numbers = [int(path.name) for path in (models / name).glob("*") if path.name.isdecimal()]
    return str(max(numbers, default=0) + 1)


def write_version(
    models: Path,
    manifest: ModelManifest,
    files: dict[str, bytes],
    check: Callable[[Path], None] | None = None,
) -> Path:
    """Write *files* and *manifest*, whose ``files`` are filled in, as one folder and return its path.

    Written aside and then renamed, so a reader sees the whole folder or none; none, too, if *check* raises.

    Raises:
        VersionExistsError: the version is there already.

    """
    folder = models / manifest.name / manifest.version
    if folder.exists():
        raise VersionExistsError(f"{folder} exists, and a version never changes; choose another version")
    aside = folder.with_name(f".{manifest.version}.{os.getpid()}")
    aside.mkdir(parents=True)
    try:
        for name, content in files.items():
            write(aside / name, content)
        complete = manifest.model_copy(update={"files": {name: digest_of(files[name]) for name in sorted(files)}})
        write(aside / "model.json", complete.model_dump_json(indent=2).encode() + b"\n")
        read_verified(aside)
        if check:
            check(aside)
        sync_folder(aside)
        aside.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(aside)
        with suppress(OSError):  # it has other versions
            folder.parent.rmdir()
        raise
    return folder


def make_live(models: Path, name: str, version: str) -> Pointer:
    """Point ``live.json`` of model *name* at *version* and return the pointer; the generation goes up by one.

    Raises:
        PointerMovedError: someone else changed it at the same moment.

    """
    store = Store(str(models))
    before = store.pointer(name) if name in store.models() else None
    after = Pointer(version=version, generation=1)
    if before is not None:
        after = before.promoted(version).model_copy(update={"generation": before.generation + 1})
    store.replace_pointer(name, before, after)
    return after


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def code_revision() -> str:
    """Return the git commit of this tree, with "+" appended when it has changes that are not committed."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return UNVERSIONED
    return commit + ("+" if _git("status", "--porcelain", "--", "trainer", "broker") else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 fixed arguments
            ["git", *arguments],  # noqa: S607 whichever git the person uses
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
            timeout=GIT_S,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
