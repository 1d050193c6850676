"""A process that ends when the one that started it does, however that ends."""

import ctypes
import os
import signal
import sys
from typing import Final

DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of Linux


def end_with(parent: int) -> None:
    """End this process as soon as *parent*, which started it, is gone; on systems that cannot, only if it is now."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")
