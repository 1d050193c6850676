"""The published interface, held against the running gateway by schemathesis: all its checks, on generated requests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.conftest import Running

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SEED = os.environ.get("FUZZ_SEED", "20261122")
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "12")  # of each operation and phase; `just fuzz` sets more
LONGEST_S = 300 + int(os.environ.get("FUZZ_SECONDS", "0"))

pytestmark = [pytest.mark.live, pytest.mark.timeout(LONGEST_S + 60)]


def test_no_generated_request_finds_an_answer_that_the_document_does_not_promise(
    running: Running, tmp_path: Path
) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={CONFIGURATION}",
        "run",
        f"{running.gateway.url}/openapi.json",
        "--checks=all",
        f"--max-examples={EXAMPLES}",
        f"--seed={SEED}",
        "--request-timeout=20",
        "--no-color",
    ]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    said = "\n".join(line[:300] for line in (found.stdout + found.stderr).splitlines() if line.strip())
    assert found.returncode == 0, said
    assert running.last_words() == ""
