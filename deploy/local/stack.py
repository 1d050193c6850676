"""Start the local stack, and stop it."""

import asyncio
import os
import signal
import sys
import time
from typing import Final

from broker.connection import check_server, connect
from broker.errors import ObservaError
from deploy.local import alerting, extras, launch, locks, probes, scale, server, supervisor
from deploy.local.changed import check_changes
from deploy.local.logs import last_lines
from deploy.local.settings import StackSettings
from deploy.local.where import print_what_is_not_ready, print_where

ANSWERING: Final = ("worker", "gateway")  # workers take longer


class SlowError(ObservaError):
    """A service runs, and does not do its work in the time that a start may take."""


def up(settings: StackSettings) -> None:
    """Start everything and return when it works; or stop what was started and say why.

    Raises:
        ObservaError: a port is taken, the server is unsafe, a service does not start.

    """
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C does: stop what was started, then end
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with locks.one_at_a_time(settings.run_dir):
        if supervisor.pid(settings) is not None:
            _follow_settings(settings)
            print_where(settings)
            print_what_is_not_ready(settings)
            return
        if probes.running(settings):
            print("Stopping what a supervisor that died has left behind ...", flush=True)
            _stop_processes(settings)
        _check_before_start(settings)
        for old in settings.processes.glob("*.starts"):
            old.unlink()
        try:
            _start(settings)
        except BaseException:
            print("Stopping what was started ...", flush=True)
            _stop_all(settings)
            raise
        print_where(settings)


def _follow_settings(settings: StackSettings) -> None:
    """Let what runs become what is wanted now, as far as that needs no restart.

    Raises:
        ObservaError: something needs one; nothing was changed.

    """
    check_changes(settings)
    print("Observa is already running.")
    if "workers" in settings.model_fields_set and settings.workers != scale.count(settings):
        scale.scale_stack(settings, settings.workers)
        print(f"{settings.workers} workers are ready.")
    wanted = (*extras.wanted(settings), *alerting.wanted(settings))
    for service in sorted(_services(settings) - {*wanted, *settings.services}):
        supervisor.tell(settings, "stop", name=service, waiting=True, timeout_s=supervisor.GRACE_S + 10)
        print(f"  {service} stopped")
    _start_alerting(settings, time.monotonic())
    _start_extras(settings)


def down(settings: StackSettings) -> None:
    """Stop everything, the gateway first and the log last; data stays."""
    with locks.one_at_a_time(settings.run_dir):
        if supervisor.pid(settings) is None and not probes.running(settings):
            print("Observa is not running.")
            return
        _stop_all(settings)
        print(f"Stopped. The data is in {settings.data_dir}; `just up` goes on with it.")


def _check_before_start(settings: StackSettings) -> None:
    for service in [service for service in settings.services if service != "worker"]:
        port = int(getattr(settings, f"{service}_port"))
        if not launch.port_is_free(settings.host_of(service), port):
            raise ObservaError(
                f"port {port} is taken by another program: stop it, or set OBSERVA_{service.upper()}_PORT to another"
            )
    if settings.embedded:
        server.check_folder(settings, server.find_engine(settings))
    else:
        asyncio.run(_check_server(settings))


async def _check_server(settings: StackSettings) -> None:
    async with connect(settings, "up") as redis:
        await check_server(redis, settings)


def _start(settings: StackSettings) -> None:
    began = time.monotonic()
    supervisor.launch(settings)
    if settings.embedded:
        supervisor.tell(settings, "start", name="redis")
        await_ready(settings, {"redis": 1}, began)
        asyncio.run(_check_server(settings))
    # Whoever answers begins first: what only watches would share the processors with them, and misses nothing.
    watching = [service for service in settings.services if service not in {"redis", *ANSWERING}]
    for together in (ANSWERING, watching):
        for service in together:
            supervisor.tell(settings, "start", name=service, timeout_s=settings.start_timeout_s)
        try:
            await_ready(settings, {service: settings.count_of(service) for service in together}, began)
        except SlowError as error:
            if together is ANSWERING:
                raise
            print(f"  {error}\n  Answers are given; what it shows is of the past until `just doctor` calls it ready.")
    _start_alerting(settings, began)
    _start_extras(settings)


def _start_alerting(settings: StackSettings, began: float) -> None:
    """Start Alertmanager and Prometheus; serving needs neither, so whatever hinders them is one line."""
    wanted = alerting.wanted(settings)
    if settings.alerting and len(wanted) < len(alerting.SERVICES):
        missing = " and ".join(service for service in alerting.SERVICES if service not in wanted)
        print(f"  Not installed, so no alert is sent: {missing}; to have it: {alerting.HOW_TO_INSTALL}")
    for service in reversed([service for service in wanted if service not in _services(settings)]):
        _start_if_possible(settings, service, alerting.port(settings, service), "ALERTING", began)


def _start_extras(settings: StackSettings) -> None:
    """Install what the console and the explainer need, once, and start them; answers are given all the while."""
    for service in [service for service in extras.wanted(settings) if service not in _services(settings)]:
        try:
            extras.install(service)
        except ObservaError as error:
            print(f"  {service} not started: {error} (OBSERVA_{service.upper()}=false: never try)")
            continue
        _start_if_possible(settings, service, extras.port(settings, service), service.upper(), time.monotonic())


def _start_if_possible(settings: StackSettings, service: str, port: int, switch: str, began: float) -> None:
    if not launch.port_is_free(settings.host_of(service), port):
        print(
            f"  {service} not started: port {port} is taken; stop what takes it, or set "
            f"OBSERVA_{service.upper()}_PORT (OBSERVA_{switch}=false: never start it)"
        )
        return
    try:
        supervisor.tell(settings, "start", name=service, timeout_s=settings.start_timeout_s)
        await_ready(settings, {service: 1}, began)
    except ObservaError as error:
        print(f"  {service} not started: {error}")
        supervisor.tell(settings, "stop", name=service, waiting=True, timeout_s=supervisor.GRACE_S + 10)


def await_ready(settings: StackSettings, wanted: dict[str, int], began: float) -> None:
    """Return when the wanted number of processes of each service works; prints each as it comes.

    Raises:
        ObservaError: a process died, or the time is over; the end of its log has been printed.

    """
    waiting, seen = dict(wanted), set[str]()
    until = time.monotonic() + settings.start_timeout_s
    reasons: dict[str, str] = {}
    while waiting:
        for process in probes.running(settings):
            if process.service not in wanted or process.name in seen:
                continue
            if len(launch.starts(settings, process.name)) > 1:
                raise ObservaError(_said(settings, process.service, f"{process.name} ended right after its start"))
            reason = probes.why_not_ready(settings, process.name)
            if reason is None:
                seen.add(process.name)
                port = probes.port_of(settings, process.name)
                print(f"  {process.name:<12} ready after {time.monotonic() - began:4.1f} s  port {port}", flush=True)
            else:
                reasons[process.service] = reason
        waiting = {s: n for s, n in wanted.items() if sum(name.partition("-")[0] == s for name in seen) < n}
        if waiting and time.monotonic() > until:
            slow = next(iter(waiting))
            what = f"{slow} not ready after {settings.start_timeout_s:g} s: {reasons.get(slow, 'no process')}"
            raise SlowError(_said(settings, slow, what))
        time.sleep(0.05 if waiting else 0)


def _said(settings: StackSettings, service: str, what: str) -> str:
    """Show the end of a service's log, and return *what* is wrong with the service's own words."""
    lines = last_lines(settings, service, 15)
    print(f"The end of {settings.logs / service}.log:")
    for line in lines:
        print(f"  | {line}")
    own_words = [line for line in lines if line.startswith(f"observa {service}: ")]
    return f"{what}{'; ' + own_words[-1] if own_words else ''}"


def _services(settings: StackSettings) -> set[str]:
    """Return the services of which a process runs."""
    return {process.service for process in probes.running(settings)}


def _stop_all(settings: StackSettings) -> None:
    if supervisor.pid(settings) is not None:
        try:
            known = supervisor.tell(settings, "list")["watchers"]  # of its start: settings may have changed since
            order = ("gateway", "worker", *extras.SERVICES, *alerting.SERVICES, "monitor", "archive", "redis")
            for service in [service for service in order if service in known]:
                supervisor.tell(settings, "stop", name=service, waiting=True, timeout_s=supervisor.GRACE_S + 10)
            supervisor.tell(settings, "quit")
        except ObservaError as error:
            print(f"{error}; stopping by process id ...", flush=True)
    _stop_processes(settings)


def _stop_processes(settings: StackSettings) -> None:
    """Stop by process id what still runs: the supervisor, or it would start the others again, and then the others."""
    _end(settings, ["supervisor"])
    for services in (("gateway",), ("worker", "monitor", "archive", *extras.SERVICES, *alerting.SERVICES), ("redis",)):
        _end(settings, [p.name for p in probes.running(settings) if p.service in services])


def _end(settings: StackSettings, names: list[str]) -> None:
    """Send SIGTERM to the holders of the locks, and SIGKILL to those that stay."""
    patience_s = supervisor.GRACE_S + (5 if names == ["supervisor"] else 0)
    for sent, wait_s in (
        (None, 2 if names == ["supervisor"] else 0),
        (signal.SIGTERM, patience_s),
        (signal.SIGKILL, 5),
    ):
        until = time.monotonic() + wait_s
        for name in names:
            pid = locks.holder(settings.processes / name)
            if sent is not None and pid is not None:
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    continue
        while any(locks.holder(settings.processes / name) for name in names):
            if time.monotonic() >= until:
                break
            time.sleep(0.05)
        else:
            return
