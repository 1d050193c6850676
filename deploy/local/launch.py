"""Become one service: `python -m deploy.local.launch NAME`, as the supervisor runs it.

Holds the process's lock file for its life, gives a worker its slot, and waits a little longer after every early death.
"""

import json
import os
import socket
import sys
import time
from pathlib import Path

from broker.addresses import LOOPBACK
from broker.errors import ObservaError
from broker.files import files_told
from broker.settings import load_settings
from deploy.local import alerting, extras, locks, server
from deploy.local.settings import MOST_WORKERS, StackSettings

ALLOWED_HOSTS = "OBSERVA_GATEWAY_ALLOWED_HOSTS"
_SETTLED_S = 30  # a process that lived this long begins anew with its delays
_MOST_DELAY_S = 10.0


def claim_name(settings: StackSettings, service: str) -> tuple[str, int]:
    """Take the process's name: the service's, or the lowest free slot of its kind; return it with its lock.

    The first gateway has the service's name, and those that share its port have slots from 1 up.

    Raises:
        ObservaError: the service runs already, or every slot is taken.

    """
    if service == "gateway" and settings.gateways > 1:
        return _claim_gateway(settings)
    if service != "worker":
        descriptor = locks.hold(settings.processes / service, wait_s=2)
        if descriptor is None:
            raise ObservaError(f"{service} runs already as process {locks.holder(settings.processes / service)}")
        return service, descriptor
    for slot in range(MOST_WORKERS * 2):
        descriptor = locks.hold(settings.processes / f"worker-{slot}", wait_s=0.02)
        if descriptor is None:
            continue
        if port_is_free(settings.worker_metrics_host, settings.worker_metrics_port_base + slot):
            return f"worker-{slot}", descriptor
        os.close(descriptor)
    raise ObservaError(
        f"no free port for a worker from {settings.worker_metrics_port_base} up; set OBSERVA_WORKER_METRICS_PORT_BASE"
    )


def _claim_gateway(settings: StackSettings) -> tuple[str, int]:
    for slot in range(settings.gateways):
        name = f"gateway-{slot}" if slot else "gateway"
        descriptor = locks.hold(settings.processes / name, wait_s=0.1)
        if descriptor is not None:
            return name, descriptor
    raise ObservaError(f"{settings.gateways} gateways run already")


def port_is_free(host: str, port: int) -> bool:
    """Tell whether we could listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections may linger
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def starts(settings: StackSettings, name: str) -> list[float]:
    """Return when *name* was started of late, Unix seconds."""
    try:
        return list(json.loads((settings.processes / f"{name}.starts").read_text()))
    except (FileNotFoundError, ValueError):
        return []


def back_off(settings: StackSettings, name: str) -> None:
    """Sleep 0, 1, 2, 4 ... 10 s when the process keeps dying early."""
    before = starts(settings, name)
    early = before if before and time.time() - before[-1] < _SETTLED_S else []
    Path(settings.processes / f"{name}.starts").write_text(json.dumps([*early[-9:], time.time()]))
    if early:
        time.sleep(min(_MOST_DELAY_S, 2.0 ** (len(early) - 1)))


def command(settings: StackSettings, name: str) -> list[str]:
    """Return the program to become and its arguments."""
    if name == "redis":
        engine = server.find_engine(settings)
        config, descriptor = server.prepare(settings, engine)
        locks.keep(descriptor)
        return [str(engine.program), str(config)]
    if name in alerting.SERVICES:
        return alerting.command(settings, name)
    if name in extras.SERVICES:
        return extras.command(settings, name)
    service, _, slot = name.partition("-")
    if service == "gateway" and (named := os.environ.get(ALLOWED_HOSTS)):  # its probes and this machine's commands, too
        os.environ[ALLOWED_HOSTS] = ",".join([named, *sorted(LOOPBACK), settings.gateway_host])
    if slot:
        alerting.write_targets(settings)
        os.environ[f"OBSERVA_{service.upper()}_SLOT"] = slot
    return [sys.executable, "-m", service]


def main() -> None:
    """Become the service."""
    service = sys.argv[1]
    os.dup2(2, 1)  # one stream, so that lines keep their order
    try:
        with files_told():
            settings = load_settings(StackSettings)
            name, descriptor = claim_name(settings, service)
            locks.keep(descriptor)
            back_off(settings, name)
            become = command(settings, name)
    except ObservaError as error:
        sys.exit(f"observa {service}: {error}")
    os.execv(become[0], become)  # noqa: S606 - becoming the program keeps its process id and its locks


if __name__ == "__main__":
    main()
