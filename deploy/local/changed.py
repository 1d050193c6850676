"""Settings that changed while the stack runs: which of them wait for a restart, and the command for it."""

import re
import shlex
from typing import Final

from broker.errors import ObservaError
from deploy.local import supervisor
from deploy.local.settings import StackSettings

# What `just up` changes while everything runs, and what is read by commands alone.
_WITHOUT_RESTART: Final = frozenset({"WORKERS", "ALERTING", "CONSOLE", "EXPLAINER", "START_TIMEOUT_S"})
_OF_COMMANDS: Final = frozenset({"API_KEY_FILE", "GATEWAY_URL", "GATEWAY_TIMEOUT_S", "MONITOR_URL", "RETRAIN_ON"})
_SECRET: Final = re.compile(r"URL|HEADERS|PASSWORD|SECRET|TOKEN")


def check_changes(settings: StackSettings) -> None:
    """Make sure that what runs has the settings that are wanted now, but for those that need no restart.

    Raises:
        ObservaError: it has others; the message names them and the command that applies them.

    """
    reply = supervisor.tell(settings, "get", name="gateway", keys=["env"])
    running, wanted = _ours(reply["options"]["env"]), _ours(supervisor.environment(settings))
    changed = [name for name in sorted(running.keys() | wanted.keys()) if running.get(name) != wanted.get(name)]
    waiting = [name for name in changed if name.removeprefix("OBSERVA_") not in _WITHOUT_RESTART]
    if waiting:
        values = "".join(f"{_assigned(name, wanted[name])} " for name in changed if name in wanted)
        raise ObservaError(
            f"Observa runs with other settings: {', '.join(waiting)}; nothing was changed. To apply them: "
            f"just down && {values}just up"
        )


def _ours(environment: dict[str, str]) -> dict[str, str]:
    """Return what settings are read from; an empty variable is none."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(supervisor.OWN_PREFIXES) and value and name.removeprefix("OBSERVA_") not in _OF_COMMANDS
    }


def _assigned(name: str, value: str) -> str:
    return f"{name}=..." if _SECRET.search(name) else f"{name}={shlex.quote(value)}"
