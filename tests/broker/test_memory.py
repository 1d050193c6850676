import subprocess
import sys

import pytest

HOLDS = """
import threading
from broker.memory import return_large_blocks

def megabytes():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty:")) / 1024

def use():
    bytes([1]) * (16 << 20)  # freed, it teaches the C library to keep blocks of this size
    blocks = [bytes([1]) * (12 << 20) for _ in range(2)]

if {wanted}:
    return_large_blocks()
before, thread = megabytes(), threading.Thread(target=use)
thread.start()
thread.join()
print(megabytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory a process has")
def test_what_a_thread_used_and_let_go_is_given_back_to_the_system():
    def held(wanted: bool) -> float:
        done = subprocess.run(
            [sys.executable, "-c", HOLDS.replace("{wanted}", str(wanted))], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    assert held(wanted=True) < 8 < held(wanted=False)
