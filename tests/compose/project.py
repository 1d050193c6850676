"""The project of compose.yaml under a name, ports and images of its own."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.compose.engine import ROOT, Engine
from tests.servers import free_port

NAME = "observa-trial"
PORTS = ("GATEWAY", "GATEWAY_INTERNAL", "MONITOR", "CONSOLE", "TRAINER_MLFLOW", "PROMETHEUS", "ALERTMANAGER", "GRAFANA")


class Project:
    """One `docker compose` project; *folder* is for its files."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.ports = {name: free_port() for name in PORTS}
        self.services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
        self.images = {
            name: service["image"].replace("observa", NAME)
            for name, service in self.services.items()
            if "build" in service
        }
        override = folder / "override.yaml"
        override.write_text(_override(self.services, self.images, ours=engine.ours))
        self.environment = engine.environment | {
            "COMPOSE_PROJECT_NAME": NAME,
            "COMPOSE_FILE": f"compose.yaml:{override}",
            "COMPOSE_ANSI": "never",
            "OBSERVA_RUN_DIR": str(folder / "run"),  # or `just scale-workers` means a stack that runs here
            **{f"OBSERVA_{name}_PORT": str(port) for name, port in self.ports.items()},
        }

    def compose(self, *words: str) -> str:
        """Run ``docker compose WORDS`` and return what it printed."""
        return self.run("docker", "compose", *words)

    def run(self, *words: str, given: str | None = None) -> str:
        """Run any command that finds this project by its environment, and return what it printed."""
        done = subprocess.run(
            words, cwd=ROOT, env=self.environment, input=given, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)[:200]}: {done.stderr[-3000:]}{done.stdout[-2000:]}")
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """Ids of the running containers of *service*."""
        return self.compose("ps", "--quiet", service).split()

    def inside(self, container: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container."""
        return subprocess.run(
            ["docker", "exec", container, *words],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def inspect(self, container: str) -> Any:
        """What the engine knows of a container."""
        return json.loads(self.engine.docker("inspect", container))[0]

    def crash(self, service: str, which: int = 0) -> str:
        """Kill the processes of a container from within, as a crash does, and return its id."""
        container = self.containers(service)[which]
        self.inside(container, "sh", "-c", "kill -9 -1")
        return container

    def healthy(self, service: str, count: int) -> bool:
        """Tell whether *count* containers of *service* run, all healthy."""
        states = [self.inspect(container)["State"] for container in self.containers(service)]
        return len(states) == count and all(
            state["Running"] and state.get("Health", {}).get("Status") == "healthy" for state in states
        )

    def url(self, name: str, path: str) -> str:
        """Where this machine reaches a published port."""
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def ask(self, name: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Ask a service: the status, and the JSON or text of the answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url(name, path), data, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode(errors="replace")


def eventually(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """Wait for a true value of *condition* and return it."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            if found := condition():
                return found
            trouble = ""
        except (OSError, RuntimeError, KeyError, IndexError) as error:
            trouble = f": {type(error).__name__} {error}"
        if time.monotonic() > until:
            raise AssertionError(f"after {timeout_s:.0f} s not so: {what}{trouble}")
        time.sleep(0.5)


def _override(services: dict[str, Any], images: dict[str, str], *, ours: bool) -> str:
    """Images named apart from anybody's own; builds that need no forwarding; no .env of the person who runs this."""
    lines = ["services:"]
    for name, service in services.items():
        lines.append(f"  {name}:")
        if "env_file" in json.dumps(service):
            lines.append("    env_file: !reset []")
        if name in images:
            lines += [f"    image: {images[name]}", "    build:", f"      network: {'host' if ours else 'default'}"]
            if name == "trainer" and Path(wheels := os.environ.get("PIP_FIND_LINKS", "")).is_absolute():
                lines.append(f"      additional_contexts: {{wheels: {wheels}}}")
    return "\n".join(lines) + "\n"
