"""What ``promote`` and ``rollback`` share: changing which version is live, telling everybody, seeing it served."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from redis.asyncio import Redis

from broker.changes import Changed
from broker.errors import BrokerUnavailableError
from broker.manifest import Pointer
from cli.reading import opened
from cli.registry import move_aliases
from cli.settings import CliSettings
from cli.terminal import note, printable
from cli.trying import comes_true, live_workers, say_untold

WAIT_S: Final = 60.0  # for every worker to load a version


@asynccontextmanager
async def perhaps(settings: CliSettings) -> AsyncIterator[Redis | None]:
    """Connect to the log while a command runs that can do without it; None, said once, where it does not answer."""
    async with AsyncExitStack() as stack:
        redis = None
        try:
            redis = await stack.enter_async_context(opened(settings))
        except BrokerUnavailableError as error:
            note(f"the log does not answer: {error}")
        yield redis


async def follow_up(redis: Redis | None, model: str, changed: Changed) -> int:
    """Tell the registry, wait until the workers serve what is live now, and return the exit status.

    1: a worker refuses it, or has not loaded it in time; the pointer stays as it is.
    """
    if redis is not None:
        say_untold(changed)
    else:
        note("workers find it in the store within seconds, and tell Redis when it is back")
    if untold := await move_aliases(model, changed.pointer):
        note(f"the registry is not told ({printable(untold)}); later: just models {model} --mirror")
    return 0 if redis is None else await _wait(redis, model, changed.pointer)


async def _wait(redis: Redis, model: str, pointer: Pointer) -> int:
    version, workers = pointer.version, await live_workers(redis, model)
    if not workers:
        note(
            f"no worker serves {model} yet; those that serve all of the store begin within seconds (see just models "
            f"{model}), those started with OBSERVA_WORKER_MODELS need {model} in it and a restart: just down, just up"
        )
        return 0

    async def is_served_or_refused() -> bool:
        workers[:] = await live_workers(redis, model)
        return all(version == worker.live or version in worker.refused for worker in workers)

    in_time = await comes_true(is_served_or_refused, WAIT_S)
    refused = [worker for worker in workers if version in worker.refused]
    serving = sum(worker.live == version for worker in workers)
    print(f"{serving} of {len(workers)} workers serve it")
    if refused:
        back = f"; back with: just rollback {model}" if pointer.previous else ""
        note(f"refused by {len(refused)}, which go on as before{back}: {printable(refused[0].refused[version])}")
    elif not in_time:
        note(f"the others have not loaded it within {WAIT_S:.0f} s; look at: just logs worker")
    return 0 if in_time and not refused else 1
