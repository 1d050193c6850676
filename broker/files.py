"""What the operating system refuses of files and folders, as one line for the person who runs Observa."""

import errno
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.errors import ObservaError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CLOSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def files_told() -> Iterator[None]:
    """Let a full disk, and a file or folder that this user may not use, be one line.

    Raises:
        ObservaError: one of them; the message names the file, where it is known, and what to do.

    """
    try:
        yield
    except OSError as error:
        if isinstance(error, ObservaError) or error.errno not in _FULL | _CLOSED:
            raise
        if error.errno in _CLOSED and error.filename is None:  # no file: a socket, a signal
            raise
        raise ObservaError(_told(error)) from None


def _told(error: OSError) -> str:
    what = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror)
    if error.errno in _FULL:
        return f"{what}; free some space, or name folders on another disk: OBSERVA_DATA_DIR, OBSERVA_RUN_DIR"
    elsewhere = "name folders of your own: OBSERVA_DATA_DIR, OBSERVA_RUN_DIR, or another file"
    if error.errno == errno.EROFS:
        return f"{what}; {elsewhere}"
    return f"{what}; {_what_to_do(Path(os.fsdecode(error.filename)))}, or {elsewhere}"


def _what_to_do(path: Path) -> str:
    """Say who owns the nearest thing on the way to *path*, and what to do about it."""
    place = next(place for place in (path, *path.absolute().parents) if os.access(place, os.F_OK))
    owner = place.stat().st_uid
    if owner == os.getuid():
        return f"it may not be written: chmod u+w {place}"
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"user {owner}"
    return f"{place} belongs to {name}: run it as that user"
