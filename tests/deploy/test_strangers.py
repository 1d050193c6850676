"""A user who does not own the folders, a full disk, an old Python: one line each."""

import errno
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import ObservaError
from broker.files import files_told
from tests.deploy.conftest import ROOT


def without_rights(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *command* as a user who is bound by the permissions of files: root without what makes it root."""
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everything, and setpriv is not installed")
        command = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", *command)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OBSERVA_")}
    return subprocess.run(
        command, cwd=cwd, env=kept | environment, capture_output=True, text=True, timeout=60, check=False
    )


def one_line(said: str) -> str:
    assert said.count("\n") == 1, said
    return said


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be made."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    yield folder
    folder.chmod(0o700)


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        (("up",), "OBSERVA_DATA_DIR"),
        (("up",), "OBSERVA_RUN_DIR"),
        (("scale", "2"), "OBSERVA_RUN_DIR"),
        (("clean",), "OBSERVA_RUN_DIR"),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, closed: Path, command: tuple[str, ...], setting: str
) -> None:
    folders = {"OBSERVA_RUN_DIR": str(tmp_path / "run"), "OBSERVA_DATA_DIR": str(tmp_path / "data")}
    done = without_rights(sys.executable, "-m", "deploy.local", *command, **folders | {setting: str(closed / "new")})
    assert done.returncode == 2
    assert f"observa {command[0]}: " in one_line(done.stderr)
    assert "Permission denied; it may not be written: chmod u+w " in done.stderr
    assert "OBSERVA_DATA_DIR, OBSERVA_RUN_DIR" in done.stderr


def test_a_clone_that_cannot_be_written_and_has_no_libraries_is_one_line(closed: Path) -> None:
    script = ROOT / "deploy" / "local" / "environment.py"
    done = without_rights(sys.executable, str(script), str(ROOT / "pyproject.toml"), ".venv", cwd=closed)
    assert done.returncode == 2
    assert "Permission denied; this folder must be yours to install .venv" in one_line(done.stderr)


def test_what_belongs_to_somebody_else_names_the_owner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    owner = pwd.getpwuid(tmp_path.stat().st_uid).pw_name
    monkeypatch.setattr("os.getuid", lambda: 4711)
    with pytest.raises(ObservaError, match=f"{tmp_path} belongs to {owner}: run it as that user"), files_told():
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "data" / "x"))


def test_a_read_only_file_system_is_called_that(tmp_path: Path) -> None:
    with pytest.raises(ObservaError, match="Read-only file system; name folders"), files_told():
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(number: int) -> None:
    with pytest.raises(ObservaError, match="free some space"), files_told():
        raise OSError(number, os.strerror(number))


def test_what_is_no_trouble_with_a_file_is_not_explained_away() -> None:
    for error in (PermissionError(errno.EPERM, "of a signal"), ConnectionResetError(errno.ECONNRESET, "x")):
        with pytest.raises(type(error)), files_told():
            raise error


@pytest.fixture
def only_an_old_python(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without Python 3.11 and without a network, as uv sees it."""
    (tmp_path / "uv").write_text("#!/bin/sh\necho 'error: 10 lines' >&2\nexit 2\n")
    (tmp_path / "uv").chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.skipif(shutil.which("just") is None, reason="just is not installed")
def test_without_python_3_11_every_recipe_says_so_in_one_line(only_an_old_python: dict[str, str]) -> None:
    done = subprocess.run(
        ["just", "status"], cwd=ROOT, env=only_an_old_python, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "there is no Python 3.11 or newer" in one_line(done.stderr)


@pytest.mark.skipif(shutil.which("just") is None, reason="just is not installed")
@pytest.mark.parametrize("writable", [True, False])
def test_uv_does_without_its_cache_where_the_home_folder_cannot_be_written(tmp_path: Path, writable: bool) -> None:
    home = tmp_path if writable else "/proc/none"
    environment = {k: v for k, v in os.environ.items() if k not in {"UV_CACHE_DIR", "XDG_CACHE_HOME", "UV_NO_CACHE"}}
    said = subprocess.check_output(
        ["just", "--evaluate", "UV_NO_CACHE"], cwd=ROOT, env=environment | {"HOME": str(home)}, text=True
    )
    assert said.strip() == str(not writable).lower()
