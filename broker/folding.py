"""Names that people write in several ways, and how a message shows what others wrote."""

from collections.abc import Iterable, Sequence
from typing import Final

MOST_NAME: Final = 40  # characters of a name that a message shows
MOST_NAMES: Final = 20


class Folded:
    """Names that are found whatever the case and the spaces around, where that leaves no doubt."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(names))
        self._exact = frozenset(self.names)
        self._folded: dict[str, str | None] = {}
        for name in self.names:
            self._folded[_fold(name)] = None if _fold(name) in self._folded else name
        self.changed: dict[str, str] = {}  # what was read as what; `said` says it

    def find(self, name: str) -> str | None:
        """Return the name that *name* is, or None."""
        if name in self._exact:
            return name
        if (found := self._folded.get(_fold(name))) is not None:
            self.changed[name] = found
        return found

    @property
    def said(self) -> list[str]:
        """What was read as what, in one line; none where every name was written as it is."""
        names = [f"{quoted(name)} is {quoted(meant)}" for name, meant in list(self.changed.items())[:MOST_NAMES]]
        return [f"without regard to case and spaces: {', '.join(names)}"] if names else []


def _fold(name: str) -> str:
    return name.strip().casefold()


def plain(name: str) -> str:
    """Return *name* so that it steers no terminal and fills no screen."""
    shown = repr(name)[1:-1]
    return f"{shown[:MOST_NAME]}..." if len(shown) > MOST_NAME else shown


def quoted(name: str) -> str:
    """Return *name* as `plain` does, in quotes."""
    return f"'{plain(name)}'"


def shown(names: Sequence[str]) -> str:
    """Return the first of *names*, in quotes."""
    return ", ".join(map(quoted, names[:MOST_NAMES]))
