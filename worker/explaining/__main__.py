"""``python -m worker.explaining``."""

from worker.explaining.app import main

main()
