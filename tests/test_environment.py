"""Tests run in an environment of their own."""

import os
import subprocess
import sys

import pytest

AT_COLLECTION = [name for name in os.environ if name.startswith(("OBSERVA_", "OTEL_"))]


@pytest.fixture(scope="module")
def of_the_module() -> list[str]:
    return [name for name in os.environ if name.startswith(("OBSERVA_", "OTEL_"))]


def test_neither_modules_nor_their_fixtures_see_settings(of_the_module: list[str]) -> None:
    assert (AT_COLLECTION, of_the_module) == ([], [])


def test_settings_of_the_user_do_not_reach_the_tests() -> None:
    own = {"OBSERVA_GATEWAY_INTERNAL_PORT": "9009", "OBSERVA_MODEL": "topics", "OTEL_SERVICE_NAME": "mine"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "neither_modules"]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
