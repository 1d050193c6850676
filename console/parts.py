"""What the tabs share: the chosen model, and how quietly an event runs."""

from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

# No entry in a listing, no spinner over what is being refreshed.
QUIET: Final[dict[str, Any]] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen above all tabs, and when a tab looks again: by its clock while it is open, and as it is opened."""

    model: gr.Dropdown
    clock: gr.Timer
    tab: gr.Tab

    @property
    def looks(self) -> list[Any]:
        """The events upon which a tab shows what is there now."""
        return [self.clock.tick, self.tab.select, self.model.change]
