"""Which part of the traffic something falls into: by hash, so that every process says the same without a list."""

import hashlib
from typing import Final

_WHOLE: Final = 1 << 64


def is_in_share(key: str, share: float, draw: str) -> bool:
    """Tell whether *key* (an id, a subject) is in *share* of all keys.

    Each *draw* is another one, independent of the others; in one draw, a larger share holds all of a smaller one.
    """
    digest = hashlib.blake2b(f"{draw}\n{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * _WHOLE
