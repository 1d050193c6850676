"""What is printed of what others wrote: nothing of it may steer the terminal that shows it."""

import re
from typing import Any, Final

import orjson

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # C0 but for tab and line end, DEL, and C1


def escaped(text: str) -> str:
    """Return *text* with its control characters as Python writes them; tabs and line ends stay, of CR LF the LF."""
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text.replace("\r\n", "\n"))


def json_text(document: Any, option: int | None = None) -> str:
    """Return *document* as JSON, with the controls escaped that JSON allows in a string: DEL and C1."""
    written = orjson.dumps(document, default=str, option=option).decode()
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", written)
