"""A few coordinates for each text, in place of its hundreds: what the monitor watches of the pooled output."""

import io
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

FILE: Final = "projection.npy"
MOST: Final = 8  # coordinates; the first alone says little more than the label, the next seven see a new kind of text
DECIMALS: Final = 3  # of a coordinate, whose standard deviation is 1 on the reference texts


def fit(vectors: ArrayLike) -> NDArray[np.float32]:
    """Return the projection of *vectors* [texts, width] on their principal directions.

    float32 [width + 1, coordinates]; the last row is added. Each coordinate has mean 0 and variance 1 on *vectors* and
    none follows another.
    """
    found = np.asarray(vectors, np.float64)
    middle = found.mean(axis=0)
    _, spread, directions = np.linalg.svd(found - middle, full_matrices=False)
    spread /= np.sqrt(len(found))
    kept = min(MOST, int((spread > 1e-6 * max(spread[0], 1e-30)).sum()))
    directions = directions[:kept]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(kept), largest])  # of a direction and its opposite, always the same one
    scaled = (directions * (signs / spread[:kept])[:, None]).T
    return np.vstack([scaled, -middle @ scaled]).astype(np.float32)


def coordinates(vectors: ArrayLike, projection: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the coordinates of *vectors* [texts, width], rounded as the worker rounds them."""
    found = np.asarray(vectors, np.float64)
    plain: NDArray[np.float64] = np.round(found @ projection[:-1].astype(np.float64) + projection[-1], DECIMALS)
    return plain


def to_bytes(projection: NDArray[np.float32]) -> bytes:
    """Return the content of projection.npy."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(projection), allow_pickle=False)
    return file.getvalue()
