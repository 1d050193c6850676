"""What the tabs share: the chosen model, and how quietly an event runs."""

from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

# No entry in a listing, no spinner over what is being refreshed.
QUIET: Final[dict[str, Any]] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen above all tabs, and the clock by which they look again."""

    model: gr.Dropdown
    clock: gr.Timer
