"""What a process that serves for days does about its memory: for the collector, and for the machine."""

import ctypes
import gc
from contextlib import suppress
from typing import Final

_MMAP_THRESHOLD: Final = -3  # of malloc.h


def spare_the_collector() -> None:
    """Let the garbage collector pass over what was imported and loaded, and come less often.

    Otherwise a call's objects make it walk all of them every few hundred calls: a tenth of the gateway's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def return_large_blocks() -> None:
    """Let what is freed of a megabyte or more go back to the system at once, from this call on.

    By itself the C library raises that limit up to 32 MB as large blocks come and go, and keeps what the end of a
    thread's own arena held, which no trimming reaches: 125 MB in the monitor, which solves systems of 12 MB on threads.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_MMAP_THRESHOLD, 1 << 20)


def give_back() -> None:
    """Ask the C library for the pages that are free, which otherwise stay with the process.

    What loading the shipped models leaves is 29 MB in a worker; without, changing versions doubles what is used.
    """
    with suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL("libc.so.6").malloc_trim(0)
