"""What an examination finds."""

from dataclasses import dataclass
from typing import Literal

from broker.printing import escaped

Level = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `just doctor`."""

    level: Level
    what: str
    next_command: str = ""

    def __str__(self) -> str:
        line = f"{self.level:<5}{escaped(self.what)}"  # names of keys and groups are anybody's
        return f"{line}  ->  {self.next_command}" if self.next_command else line
