"""Coordinates of a text, for the monitor, from the vector that a model made of it."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.errors import ModelRefusedError
from worker.arrays import read_array

FILE: Final = "projection.npy"
MOST: Final = 16  # coordinates that a result may carry
DECIMALS: Final = 3  # of a coordinate, whose standard deviation is 1 on the reference texts


class Projection:
    """float32 [width + 1, coordinates]: what is multiplied, and in the last row what is added."""

    def __init__(self, content: bytes) -> None:
        found = read_array(content, FILE, 2)
        if len(found) < 2 or not 1 <= found.shape[1] <= MOST:  # noqa: PLR2004 one row of width, one to add
            raise ModelRefusedError(f"{FILE} has the shape {found.shape}, not [width + 1, 1 to {MOST}]")
        self.width = len(found) - 1
        self._directions = found[:-1].astype(np.float64)
        self._offset = found[-1].astype(np.float64)

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> "Projection | None":
        """Return the projection of a folder that has one."""
        return cls(files[FILE]) if FILE in files else None

    def coordinates(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the coordinates of *vectors* [texts, width], rounded, in double precision: the same in any company.

        Raises:
            ValueError: a vector holds something that is not a number.

        """
        found: NDArray[np.float64] = np.round(vectors @ self._directions + self._offset, DECIMALS)
        if not np.isfinite(found).all():
            raise ValueError("the model's pooled output is not a number")
        return found
