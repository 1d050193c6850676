"""What the containers need before they start, each its own and no more: ``python -m deploy.containers FOLDER``.

The first service of ``compose.yaml`` runs it. Every folder below FOLDER is a volume that one service alone mounts.
"""

import sys
from pathlib import Path

from broker.durable import write
from broker.errors import ObservaError
from broker.settings import load_settings
from deploy.local.alerting import with_webhooks, write_rules
from deploy.local.settings import ROOT, StackSettings
from deploy.redis.__main__ import make_users

USERS = ("gateway", "worker", "explainer", "monitor", "archive", "trainer", "operator")  # who comes to Redis by itself
READABLE = 0o444  # by whoever the one container that mounts it runs as
PROBE = "exporter"  # reads no entry: Redis' own health check is this user


def prepare(folder: Path, settings: StackSettings) -> None:
    """Write passwords, users, and what Prometheus and Alertmanager are told; passwords that are there stay.

    Raises:
        ObservaError: a folder cannot be written.

    """
    users = make_users(folder / "setup")
    try:
        for user in USERS:
            _give(folder / user / "redis.password", users.with_name(f"{user}.password").read_text())
        _give(folder / "redis" / "probe.password", users.with_name(f"{PROBE}.password").read_text())
        _give(folder / "redis" / users.name, users.read_text())
        routes = (ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text()
        _give(folder / "alertmanager" / "alertmanager.yml", with_webhooks(settings, routes))
        _prometheus(folder / "prometheus", settings)
    except OSError as error:
        raise ObservaError(f"{error.filename}: {error.strerror}; remove the volumes and start again") from error


def _prometheus(folder: Path, settings: StackSettings) -> None:
    shipped = ROOT / "deploy" / "prometheus"
    _give(folder / "prometheus.yml", (shipped / "containers.yml").read_text())
    (folder / "rules").mkdir(exist_ok=True)
    write_rules(settings, folder / "rules", _give)


def _give(path: Path, text: str) -> None:
    """Replace a file whole, since a container that is running may read it, and starts again when power is back."""
    write(path, text.encode(), READABLE)


def main() -> int:
    """Prepare the folder named on the command line; a mistake is one line and exit code 2."""
    try:
        prepare(Path(sys.argv[1]), load_settings(StackSettings))
    except ObservaError as error:
        print(f"observa: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
