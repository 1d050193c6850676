"""Which texts share a tensor: neighbours in length, so that no short text pays for a long one."""

from collections.abc import Sequence
from typing import Final

MOST_ROWS: Final = 16
MOST_PADDING: Final = 8  # tokens; padding in arrival order instead costs 1.8 times as much
MOST_TOKENS: Final = 256  # of a chunk of several texts; more leave the processor's cache: a fifth dearer at 2048


def chunks(
    lengths: Sequence[int],
    most_rows: int = MOST_ROWS,
    most_padding: int = MOST_PADDING,
    most_tokens: int = MOST_TOKENS,
) -> list[list[int]]:
    """Return the positions of *lengths* in chunks, each position once, shortest first."""
    found: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        length, chunk = lengths[position], found[-1] if found else []
        fits = len(chunk) < most_rows and (len(chunk) + 1) * length <= most_tokens
        if chunk and fits and length - lengths[chunk[0]] <= most_padding:
            chunk.append(position)
        else:
            found.append([position])
    return found
