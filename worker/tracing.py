"""Where spans come in, if they are wanted at all: what makes them is imported then, and not before."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from worker.serving import Serving

if TYPE_CHECKING:
    from broker.spans import Spans


def serving_with(spans: "Spans | None") -> Callable[..., Serving]:
    """Return what makes a `Serving`, one that tells what becomes of each request where there are *spans*."""
    if spans is None:
        return Serving
    from worker.traced import TracedServing  # noqa: PLC0415 - see above

    return partial(TracedServing, spans)
