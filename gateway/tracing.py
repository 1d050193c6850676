"""Where spans come in, if they are wanted at all: what makes them is imported then, and not before."""

from collections.abc import Callable, Container
from functools import partial
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from gateway.accepting import Accepting

if TYPE_CHECKING:
    from broker.spans import Spans


def traced(
    guard: Callable[[ASGIApp], ASGIApp], spans: "Spans", direct: Container[tuple[str, str]]
) -> Callable[[ASGIApp], ASGIApp]:
    """Return *guard* within a span for each call; *direct* are the methods and paths that need no router."""
    from gateway.traced import Traced  # noqa: PLC0415 - see above

    return lambda app: Traced(guard(app), spans, direct)


def accepting_with(spans: "Spans | None") -> Callable[..., Accepting]:
    """Return what makes an `Accepting`, one that carries traces on to the log where there are *spans*."""
    if spans is None:
        return Accepting
    from gateway.traced import TracedAccepting  # noqa: PLC0415 - see above

    return partial(TracedAccepting, spans)
