"""``python -m archive``."""

from archive.app import main

main()
