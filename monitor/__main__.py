"""``python -m monitor``."""

import os

# numpy's threads wait for each other in a spin: on busy cores solving the heights took 23 s in place of 0.2 s.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from monitor.app import main

main()
