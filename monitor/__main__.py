"""``python -m monitor``."""

import os

# numpy's threads wait for each other in a spin, and no matrix here is worth a second one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from monitor.app import main

main()
