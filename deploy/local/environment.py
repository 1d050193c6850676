"""Make a virtual environment from a hash-pinned requirements file, once: `python environment.py REQUIREMENTS FOLDER`.

Runs before anything is installed, hence the standard library only.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path


def wanted_stamp(requirements: Path) -> str:
    """Name what the environment must have been made from."""
    version = ".".join(map(str, sys.version_info[:3]))
    return (
        f"{hashlib.sha256(requirements.read_bytes()).hexdigest()} {sys.implementation.name} {version} {sys.platform}\n"
    )


def is_current(folder: Path, stamp: str) -> bool:
    """Tell whether *folder* holds a working environment made from *stamp*."""
    made = folder / "observa.stamp"
    return (folder / "bin" / "python").exists() and made.exists() and made.read_text() == stamp


def make(requirements: Path, folder: Path, stamp: str) -> None:
    """Create *folder* if its Python is not ours, then install exactly what *requirements* pins.

    Raises:
        subprocess.CalledProcessError: uv could not; it has said why.

    """
    made = folder / "observa.stamp"
    same_python = made.exists() and made.read_text().split()[1:] == stamp.split()[1:]
    made.unlink(missing_ok=True)
    if not same_python or not (folder / "bin" / "python").exists():
        create = ["uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        subprocess.run(create, check=True)  # noqa: S603
    install = [
        "uv",
        "pip",
        "sync",
        "--require-hashes",
        "--compile-bytecode",
        "--python",
        str(folder / "bin" / "python"),
    ]
    subprocess.run([*install, str(requirements)], check=True)  # noqa: S603
    made.write_text(stamp)


def main() -> int:
    """Bring the environment up to date; one process at a time."""
    requirements, folder = Path(sys.argv[1]), Path(sys.argv[2])
    stamp = wanted_stamp(requirements)
    if is_current(folder, stamp):
        return 0
    try:
        return _bring_up_to_date(requirements, folder, stamp)
    except OSError as error:
        print(
            f"observa: {error.filename or folder}: {error.strerror}; this folder must be yours to install {folder}: "
            "use a clone of your own, on a disk with space, or let its owner run this once",
            file=sys.stderr,
        )
        return 2


def _bring_up_to_date(requirements: Path, folder: Path, stamp: str) -> int:
    lock_path = Path(".run") / f"{folder.name}.lock"
    lock_path.parent.mkdir(mode=0o700, exist_ok=True)
    with lock_path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting: another command is installing {folder} ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current(folder, stamp):
            return 0
        began = time.monotonic()
        print(f"Installing {folder} from {requirements} (Python {sys.version.split()[0]}) ...", flush=True)
        try:
            make(requirements, folder, stamp)
        except subprocess.CalledProcessError as error:
            print(f"observa: could not install {requirements}; uv's message is above", file=sys.stderr)
            return error.returncode
        print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)
    return 0


if __name__ == "__main__":
    os.environ.pop("VIRTUAL_ENV", None)
    if "PIP_CERT" in os.environ:  # a network with certificates of its own, which uv reads elsewhere than pip
        os.environ.setdefault("SSL_CERT_FILE", os.environ["PIP_CERT"])
    sys.exit(main())
