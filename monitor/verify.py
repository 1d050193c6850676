"""``python -m monitor.verify FOLDER``: builds all that would watch this version's drift; `worker.verify` asks it."""

import math
import sys
from pathlib import Path

from broker.errors import ModelRefusedError
from broker.manifest import read_manifest, read_reference
from monitor.profiles import build
from monitor.settings import Rules
from monitor.watch import DriftWatch


def main() -> int:
    """Print what was built; a reference that nothing can be built by ends with the reason."""
    folder = Path(sys.argv[1])
    try:
        watch = DriftWatch(build(read_manifest(folder), read_reference(folder), Rules()), Rules())
    except ModelRefusedError as error:
        sys.exit(str(error))
    heights = [height for watched in watch.watched for channel in watched.channels for height in channel.heights]
    never = sum(math.isinf(height) for height in heights)
    said = f"; {never} of {len(heights)} sides are too rare to alarm" if never else ""
    print(f"{watch.detectors} detectors of {len(watch.watched)} features{said}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
