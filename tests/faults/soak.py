"""``python -m tests.faults.soak MINUTES [SEED]``: seeded faults for so long, then one line that says how it ended."""

import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.nemesis import torment
from tests.servers import RedisServer

ROUND_S = 120  # each round is a stack of its own, with the next seed


def say(line: str) -> None:
    print(line, flush=True)


def one_round(seed: int, seconds: float) -> tuple[bool, int]:
    """Return whether the history of *seed* has no fault, and how many texts it has."""
    folder = Path(tempfile.mkdtemp(prefix="observa-soak-"))
    server = RedisServer(folder)
    server.start()
    say(f"round with seed {seed}, {seconds:.0f} s; repeat it with: just soak {seconds / 60:.2g} {seed}")
    try:
        verdict, ledger = asyncio.run(torment(server, folder, seed, seconds, say))
    finally:
        server.kill()
    say(f"seed {seed}: {len(ledger.sent)} sent, p99 {ledger.wait_s():.2f} s, {verdict}")
    if verdict.faults:
        say(f"the logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return not verdict.faults, len(ledger.sent)


def main(arguments: list[str]) -> int:
    """Run rounds until the time is up or one fails; exit code 1 when one did."""
    if not arguments or len(arguments) > 2:
        say("usage: just soak MINUTES [SEED]")
        return 2
    seconds = float(arguments[0]) * 60
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(1_000_000)
    end, sent, rounds = time.monotonic() + seconds, 0, 0
    while rounds == 0 or end - time.monotonic() > 10:
        good, count = one_round(seed + rounds, min(ROUND_S, max(10, end - time.monotonic())))
        rounds, sent = rounds + 1, sent + count
        if not good:
            say(f"figure soak: FAULT with seed {seed + rounds - 1}, {sent} texts")
            return 1
    say(f"figure soak: no fault in {rounds} rounds, {sent} texts, seeds {seed} to {seed + rounds - 1}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
