"""The model alone: how many texts a second two processes classify in a loop, without HTTP, in bulk."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from bench.serving.systems import ROOT

CHUNK = 64  # texts a call
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def ceiling(model: str, texts: Sequence[str], seconds: float, processes: int = 2) -> float:
    """Return texts a second of *processes* that each have a core and the model to themselves."""
    environment = os.environ | _ENVIRONMENT | {"BENCH_MODEL": str(ROOT / "models" / model / "1")}
    command = [sys.executable, "-m", "bench.serving.ceiling", str(seconds)]
    running = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    for process in running:
        assert process.stdin
        process.stdin.write(json.dumps(list(texts)).encode())
        process.stdin.close()
    return sum(float(process.stdout.read()) for process in running if process.stdout)


def _loop(seconds: float) -> float:
    from bench.serving.peers.core import Core  # noqa: PLC0415 loads the model's libraries

    core, texts = Core(), json.load(sys.stdin)
    core.answers(texts[:CHUNK])
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        chunk = [texts[(done + i) % len(texts)] for i in range(CHUNK)]
        core.answers(chunk)
        done += CHUNK
    return done / passed


if __name__ == "__main__":
    print(_loop(float(sys.argv[1])))
