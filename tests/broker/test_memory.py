import subprocess
import sys

import pytest

HOLDS = """
import threading
import numpy as np
from broker.memory import return_large_blocks

def megabytes():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty:")) / 1024

def solve():
    for size in (4, 8, 12, 16):
        blocks = [np.ones(size << 17) for _ in range(3)]

if {wanted}:
    return_large_blocks()
before, threads = megabytes(), [threading.Thread(target=solve) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(megabytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory a process has")
def test_what_threads_used_and_let_go_is_given_back_to_the_system():
    def held(wanted: bool) -> float:
        done = subprocess.run(
            [sys.executable, "-c", HOLDS.replace("{wanted}", str(wanted))], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    assert held(wanted=True) < 8 < held(wanted=False)
