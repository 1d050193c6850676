"""The services that a privacy test runs unless it has its own."""

from tests.live.conftest import services  # noqa: F401 a fixture
