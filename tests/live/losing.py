"""``python -m tests.live.losing MODULE FOLDER``: a service in which the task that FOLDER/lose names meets a mistake.

FOLDER/tasks names all tasks that the service has, as they are. A file that is read is removed.
"""

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any

from broker.duties import Duties
from tests.live.strange_worker import Strange
from worker.models import LOADERS

EVERY_S = 0.05


class MistakeError(Exception):
    """What nobody foresaw."""


def watch(folder: Path) -> None:
    """Look at the tasks of the loop that is running, now and again."""
    loop, tasks = asyncio.get_running_loop(), {name_of(task): task for task in asyncio.all_tasks()}
    if (folder / "lose").exists():
        waits_for: Any = tasks[(folder / "lose").read_text()]
        while isinstance(waits_for, asyncio.Task):
            waits_for = waits_for._fut_waiter  # where it stands: a mistake comes from what is called there
        if waits_for is not None and not waits_for.done():
            (folder / "lose").unlink()
            waits_for.set_exception(MistakeError("injected"))
    (folder / "tasks.new").write_text("\n".join(sorted(tasks)))
    (folder / "tasks.new").replace(folder / "tasks")
    loop.call_later(EVERY_S, watch, folder)


def name_of(task: asyncio.Task[Any]) -> str:
    """Return the name that the task was given, or that of its function."""
    given = task.get_name()
    return str(getattr(task.get_coro(), "__qualname__", given)) if given.startswith("Task-") else given


def main(module: str, folder: Path) -> None:
    begin, loops = Duties.begin, set[int]()

    def begin_and_watch(duties: Duties, *arguments: Any) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()
        if id(loop) not in loops:
            loops.add(id(loop))
            loop.call_soon(watch, folder)
        return begin(duties, *arguments)

    Duties.begin = begin_and_watch  # type: ignore[method-assign]
    if module == "worker.app":
        LOADERS["strange"] = Strange
        importlib.import_module("worker.shadowing").AGAIN_S = 0.5
    importlib.import_module(module).main()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
