"""What runs, and how it is."""

import time

import psutil  # type: ignore[import-untyped]

from deploy.local import probes, supervisor
from deploy.local.settings import StackSettings


def status(settings: StackSettings) -> int:
    """Print a table of the processes; 0 when all wanted ones work, 3 when nothing runs, 1 otherwise."""
    supervised = supervisor.pid(settings)
    processes = probes.running(settings)
    if supervised is None and not processes:
        print("Observa is not running; `just up` starts it.")
        return 3
    usage = _measure([p.pid for p in processes])
    print(f"{'process':<13}{'pid':>8}  {'port':>5}  {'cpu':>5}  {'memory':>8}  {'up':>8}  state")
    good = supervised is not None
    for process in processes:
        reason = probes.why_not_ready(settings, process.name)
        good = good and reason is None
        port = probes.port_of(settings, process.name)
        print(f"{process.name:<13}{process.pid:>8}  {port:>5}  {usage.get(process.pid, '')}  {reason or 'ready'}")
    missing = set(settings.services) - {p.service for p in processes}
    for service in sorted(missing):
        print(f"{service:<13}{'-':>8}  {'-':>5}  {'':>25}  not running; `just logs {service}` says why")
    if supervised is None:
        print("The supervisor has died: `just up` starts everything anew.")
    return 0 if good and not missing else 1


def _measure(pids: list[int]) -> dict[int, str]:
    """Return CPU over a fifth of a second, resident memory and age of each process, as columns."""
    processes = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            process.cpu_percent()
        except psutil.Error:
            continue
        processes.append(process)
    time.sleep(0.2)
    columns = {}
    for process in processes:
        try:
            cpu, memory = process.cpu_percent(), process.memory_info().rss / 1e6
            age = int(time.time() - process.create_time())
        except psutil.Error:
            continue
        columns[process.pid] = f"{cpu:>4.0f}%  {memory:>5.0f} MB  {age // 3600:>2}:{age // 60 % 60:02}:{age % 60:02}"
    return columns
