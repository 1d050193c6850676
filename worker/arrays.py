"""Arrays of numbers from bytes, refused before anything is allocated when they are not what they say."""

import io
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from broker.errors import ModelRefusedError

KINDS: Final = ("<f4", "<f8", "<i4", "<i8")


def read_array(content: bytes, name: str, dimensions: int) -> NDArray[Any]:
    """Return the array of numbers in *content*, a .npy file of the folder called *name*.

    Raises:
        ModelRefusedError: it is none, has other dimensions or another length than it says, or a value is not a number.

    """
    file = io.BytesIO(content)
    try:
        version = npy.read_magic(file)
        header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, by_column, kind = header(file, max_header_size=1000)
    except (KeyError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ModelRefusedError(f"{name} is not an array of numbers") from error
    if kind.str not in KINDS or by_column or len(shape) != dimensions:
        raise ModelRefusedError(f"{name} is not an array of numbers with {dimensions} dimensions")
    size = 1
    for each in shape:
        size *= each
    if size * kind.itemsize != len(content) - file.tell():
        raise ModelRefusedError(f"{name} holds more or less numbers than it says")
    found: NDArray[Any] = np.frombuffer(content, kind, offset=file.tell()).reshape(shape)
    if not np.isfinite(found).all():
        raise ModelRefusedError(f"{name} holds something that is not a number")
    return found
