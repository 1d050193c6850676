"""A function of the operator's own that changes a text before anything keeps it."""

import importlib
from collections.abc import Callable

from broker.errors import ObservaError
from broker.events import MAX_TEXT_CHARACTERS

Redaction = Callable[[str], str]


class RedactionError(ObservaError):
    """The operator's function failed or returned no text; what it said may quote the text and is not repeated."""


def find_redaction(name: str) -> Redaction:
    """Return the function that *name*, ``MODULE:FUNCTION``, stands for.

    Raises:
        ValueError: there is no such function.

    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # noqa: BLE001 - an operator's module may raise anything
        raise ValueError(f"must be MODULE:FUNCTION, importable from here ({' '.join(str(error).split())})") from None
    if not callable(found):
        raise ValueError("must name a function")  # noqa: TRY004 - pydantic makes a setting's error of it
    redaction: Redaction = found
    return redaction


def redacted(text: str, name: str | None) -> str:
    """Return *text* as the function called *name* leaves it; without a name, as it is.

    Raises:
        RedactionError: the function failed; the text must go nowhere.

    """
    if name is None:
        return text
    try:
        changed = find_redaction(name)(text)
    except Exception:  # noqa: BLE001 - an operator's function may raise anything, and the message may hold the text
        raise RedactionError(f"OBSERVA_REDACT={name} failed on a text; mend it") from None
    if not isinstance(changed, str) or not changed or len(changed) > MAX_TEXT_CHARACTERS:
        raise RedactionError(f"OBSERVA_REDACT={name} returned no text of a fitting length; mend it")
    return changed
