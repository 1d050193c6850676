"""Prometheus and Alertmanager beside the stack, where they are installed: their configuration and their targets."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.addresses import place
from broker.durable import write
from broker.errors import ObservaError
from deploy.local import locks
from deploy.local.settings import ROOT, StackSettings

SERVICES: Final = ("prometheus", "alertmanager")
HOW_TO_INSTALL: Final = "apt-get install --no-install-recommends prometheus prometheus-alertmanager"
_PROGRAMS: Final = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}
_CONFIGURATION: Final = ROOT / "deploy"
_NO_WEBHOOK: Final = "  - name: {}\n    webhook_configs: []\n"


def program(service: str) -> str | None:
    """Return the installed program of *service*, under Debian's name or its own."""
    return next((found for name in _PROGRAMS[service] if (found := shutil.which(name))), None)


def wanted(settings: StackSettings) -> tuple[str, ...]:
    """Return what is installed and not switched off."""
    return tuple(service for service in SERVICES if settings.alerting and program(service))


def port(settings: StackSettings, service: str) -> int:
    """Return the loopback port of *service*."""
    return settings.prometheus_port if service == "prometheus" else settings.alertmanager_port


def command(settings: StackSettings, service: str) -> list[str]:
    """Write the configuration of *service* into the data folder and return the program with its arguments.

    Raises:
        ObservaError: it is not installed.

    """
    binary = program(service)
    if binary is None:
        raise ObservaError(f"{service} is not installed; {HOW_TO_INSTALL}")
    folder = _folder(settings, service)
    shared = [binary, f"--web.listen-address=127.0.0.1:{port(settings, service)}", "--log.level=warn"]
    if service == "alertmanager":
        configuration = (_CONFIGURATION / "alertmanager" / "alertmanager.yml").read_text()
        _write(folder / "alertmanager.yml", with_webhooks(settings, configuration))
        files = [f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data"]
        write_targets(settings)
        return [*shared, *files, "--cluster.listen-address="]
    _write(folder / "prometheus.yml", (_CONFIGURATION / "prometheus" / "prometheus.yml").read_text())
    write_rules(settings, folder / "rules", _write)
    write_targets(settings)
    return [*shared, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]


def write_rules(settings: StackSettings, folder: Path, write_one: Callable[[Path, str], None]) -> None:
    """Write the rules as Prometheus will read them; at no moment is one missing that was there before and still is."""
    files = {path.name: path.read_text() for path in (_CONFIGURATION / "prometheus" / "rules").glob("*.yml")}
    for name, rules in sorted(files.items()):
        write_one(folder / name, with_runbooks(settings, rules))
    for old in folder.glob("*.yml"):
        if old.name not in files:
            old.unlink()


def with_runbooks(settings: StackSettings, rules: str) -> str:
    """Return *rules* with links to runbooks that lie under OBSERVA_RUNBOOK_BASE, where one is set."""
    base = f"{settings.runbook_base.rstrip('/')}/" if settings.runbook_base else ""
    return rules.replace("runbook_url: docs/runbooks/", f"runbook_url: {base}docs/runbooks/")


def with_webhooks(settings: StackSettings, configuration: str) -> str:
    """Return Alertmanager's *configuration* with the webhooks that are set."""
    for name, url in (("page", settings.page_webhook_url), ("ticket", settings.ticket_webhook_url)):
        if url:
            empty = _NO_WEBHOOK.format(name)
            webhooks = json.dumps([{"url": url, "send_resolved": True}])
            configuration = configuration.replace(empty, empty.replace("[]", webhooks))
    return configuration


def write_targets(settings: StackSettings) -> None:
    """Tell Prometheus which processes there are; a worker that was scaled away is no target, and never down."""
    if "prometheus" not in wanted(settings):
        return
    folder = _folder(settings, "prometheus") / "targets"
    folder.mkdir(mode=0o700, exist_ok=True)
    with _alone(folder):
        workers = sorted(
            int(path.name.removeprefix("worker-"))
            for path in settings.processes.glob("worker-*")
            if not path.suffix and locks.holder(path) is not None
        )
        targets = {
            "gateway": [internal_address(settings, slot) for slot in range(settings.gateways)],
            "monitor": [place(settings.monitor_host, settings.monitor_port)],
            "archive": [place(settings.archive_host, settings.archive_port)] * _runs(settings, "archive"),
            "worker": [
                place(settings.worker_metrics_host, settings.worker_metrics_port_base + slot) for slot in workers
            ],
            # One that is not ours must not be sent our alerts.
            "alertmanager": [f"127.0.0.1:{settings.alertmanager_port}"] * _runs(settings, "alertmanager"),
        }
        for name, addresses in targets.items():
            _write(folder / f"{name}.json", json.dumps([{"targets": addresses}] if addresses else []))


def internal_address(settings: StackSettings, slot: int = 0) -> str:
    """Return where a gateway shows its metrics: on a port of their own, unless it is one that only we can reach."""
    if settings.has_internal_port:
        return place(settings.gateway_internal_host, settings.first_internal_port + slot)
    return place(settings.gateway_host, settings.gateway_port)


def _runs(settings: StackSettings, service: str) -> bool:
    return locks.holder(settings.processes / service) is not None


def _folder(settings: StackSettings, service: str) -> Path:
    folder = settings.data_dir.resolve() / service
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process after the other look and write, or the last to write may not be the last that looked."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, text: str) -> None:
    """Replace a file whole, as Prometheus may be reading it; only we may read it, as a webhook's URL may hold a key."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write(path, text.encode(), 0o600)
