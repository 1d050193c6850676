"""The console and the explainer beside the stack, each with libraries of its own: serving needs neither of them."""

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Final

from broker.addresses import place
from broker.errors import ObservaError
from deploy.local import alerting
from deploy.local.settings import ROOT, StackSettings

SERVICES: Final = ("console", "explainer")
MODULES: Final = {"console": "console", "explainer": "worker.explaining"}
_LIBRARIES: Final = {"console": "gradio", "explainer": "shap"}  # whether they are there tells whether all are


def wanted(settings: StackSettings) -> tuple[str, ...]:
    """Return what is not switched off."""
    switches = {"console": settings.console, "explainer": settings.explainer}
    return tuple(service for service in SERVICES if switches[service])


def port(settings: StackSettings, service: str) -> int:
    """Return the loopback port of *service*."""
    return settings.console_port if service == "console" else settings.explainer_port


def install(service: str) -> None:
    """Make the environment of *service*, once, unless our own Python has its libraries already.

    Raises:
        ObservaError: it cannot be made; uv has said why.

    """
    if find_spec(_LIBRARIES[service]):
        return
    script = ROOT / "deploy" / "local" / "environment.py"
    requirements = f"requirements/{service}.txt"
    if not (ROOT / requirements).exists():
        raise ObservaError(f"{requirements} is missing; run: just lock")
    try:
        subprocess.run([sys.executable, script, requirements, f".venv-{service}"], cwd=ROOT, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        raise ObservaError("its libraries could not be installed") from None


def python(service: str) -> str:
    """Return the Python that has the libraries of *service*.

    Raises:
        ObservaError: none has them.

    """
    if find_spec(_LIBRARIES[service]):
        return sys.executable
    own = ROOT / f".venv-{service}" / "bin" / "python"
    if not own.exists():
        raise ObservaError(f"the libraries of {service} are not installed; run: just up")
    return str(own)


def command(settings: StackSettings, service: str) -> list[str]:
    """Tell *service* by its environment where the others are, and return the program with its arguments.

    Raises:
        ObservaError: its libraries are not installed.

    """
    if service == "console":
        places = {
            "GATEWAY_URL": f"http://{place(settings.gateway_host, settings.gateway_port)}",
            "ADMIN_URL": f"http://{alerting.internal_address(settings)}",
            "MONITOR_URL": f"http://{place(settings.monitor_host, settings.monitor_port)}",
            "PROMETHEUS_URL": f"http://127.0.0.1:{settings.prometheus_port}",
        }
        for name, url in places.items():
            variable = f"OBSERVA_CONSOLE_{name}"
            os.environ[variable] = os.environ.get(variable) or url  # an empty one is none
    return [python(service), "-m", MODULES[service]]
