"""The tests of what Observa guarantees when parts fail. `just faults` runs their long form."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.conftest import look, mark_live, services  # noqa: F401 fixtures

LONG = os.environ.get("FAULTS_LONG") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_live(items, Path(__file__).parent, timeout_s=3600 if LONG else 300)


@dataclass(frozen=True)
class Trial:
    """One run of a test: short for every change or long, its seed, and what it measured."""

    name: str
    seed: int

    @staticmethod
    def scale(short: float, long: float) -> float:
        """Choose by the form of the run."""
        return long if LONG else short

    def figure(self, **numbers: object) -> None:
        """Print what was measured; `just faults` shows it."""
        said = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in numbers.items()
        )
        print(f"\nfigure {self.name}: {said}")


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    """Everything that is left to chance follows from the seed; FAULTS_SEED sets another one."""
    chosen = Trial(request.node.name, int(os.environ.get("FAULTS_SEED", "1")))
    print(f"seed {chosen.seed}")
    return chosen
