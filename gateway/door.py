"""Callers turned away at their headers: what a refusal costs decides how much load can be refused in time."""

import re
from collections.abc import Iterable
from typing import Final

from gateway.fleet import Fleet, ModelView
from gateway.metrics import OTHER, Metrics
from gateway.problems import Problem
from gateway.serving import Serving

# Only the log knows whether a key was used before, and who does not wait may be let in where others are not.
ASKS_FOR_MORE: Final = frozenset({b"idempotency-key", b"prefer"})
_CLASSIFIES: Final = re.compile(
    rb"/predict|/v1/models/([^/?]+)(?:/versions/[^/?]+)?/predict|/v2/models/([^/?]+)(?:/versions/[^/?]+)?/infer"
)


class Door:
    """Knows which calls that classify would be refused whatever their bodies say; one per process."""

    def __init__(self, fleet: Fleet, serving: Serving, metrics: Metrics) -> None:
        self._fleet = fleet
        self._serving = serving
        self._metrics = metrics

    def refusal(self, method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Problem | None:
        """Return why a call need not be read; None where it must be."""
        found = _CLASSIFIES.fullmatch(target) if method == b"POST" else None
        if found is None:
            return None
        views = self._views(found[1] or found[2])
        if self._serving.away:
            return self._counted("broker_unavailable", views)
        if not views or any(name in ASKS_FOR_MORE for name, _ in headers):
            return None
        return self._counted("overloaded", views) if all(map(self._serving.is_full, views)) else None

    def _views(self, model: bytes | None) -> list[ModelView]:
        """Return the models that a call may be about; where the path names none, the body may name any."""
        return [view for view in self._fleet.models if model is None or view.name.encode() == model]

    def _counted(self, code: str, views: list[ModelView]) -> Problem:
        problem = Problem(code)
        self._metrics.count(views[0].name if len(views) == 1 else OTHER, problem.status, 0.0 if views else None)
        return problem
