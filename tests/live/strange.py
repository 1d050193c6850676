"""What the strange model says of a text, known to the worker that says it and to the ledger that checks it."""

import zlib


def positive(text: str) -> float:
    """Above 0.5 for a text with "good"; how far depends on every character, so one text's answer fits no other."""
    share = zlib.crc32(" ".join(text.split()).encode()) / (1 << 32)
    return round(0.55 + 0.4 * share if "good" in text else 0.05 + 0.4 * share, 6)
