"""``tests/compose/run``: see there."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.compose import checks, images
from tests.compose.engine import ROOT, SkippedError, engine
from tests.compose.load import Load
from tests.compose.project import NAME, Project, eventually

CALLERS = 8
BEGAN = time.monotonic()


def main() -> int:
    """Run what was asked for; 0 also when nothing could be tried, after saying why."""
    parser = argparse.ArgumentParser(prog="tests/compose/run")
    parser.add_argument("--quick", action="store_true", help="build and start one image alone")
    parser.add_argument("--keep", action="store_true", help="leave the stack running until Ctrl-C")
    parser.add_argument("--trainer", action="store_true", help="build the trainer, too, and train a model")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every `finally`
    try:
        with engine() as running, tempfile.TemporaryDirectory(prefix="observa-trial-") as folder:
            say(f"an engine {'of our own' if running.ours else 'that ran already'} answers")
            say(images.have_bases(running))
            project = Project(running, Path(folder))
            try:
                quick(project) if chosen.quick else full(project, chosen)
            except (AssertionError, RuntimeError):
                print(project.run("docker", "compose", "ps", "--all"), flush=True)
                print(project.run("docker", "compose", "logs", "--tail", "25"), flush=True)
                raise
            finally:
                project.compose("--profile", "*", "down", "--volumes", "--timeout", "5")
                left = running.docker("ps", "--all", "--quiet", "--filter", f"name={NAME}")
                say(f"taken down; containers left: {left or 'none'}")
    except SkippedError as why:
        print(f"tests/compose: skipped: {why}")
    return 0


def full(project: Project, chosen: argparse.Namespace) -> None:
    """Everything that compose.yaml promises."""
    built = ["--profile", "archive", "--profile", "cli", *(["--profile", "trainer"] if chosen.trainer else [])]
    step("every image is built", lambda: project.compose(*built, "build", "--quiet"))
    weigh(project)
    step("`docker compose up` ends with all healthy", lambda: project.compose("up", "-d", "--wait"))
    known = step("the README's curl is answered", lambda: checks.the_readmes_curl(project))
    step("labels reach the monitor and Prometheus", lambda: checks.feedback(project, known))
    step("Prometheus scrapes, evaluates, knows Alertmanager", lambda: checks.scraping(project, 2))
    step("the console answers, and cannot see Redis", lambda: checks.console(project))
    step("the explainer explains", lambda: checks.explainer(project, known))
    step("MLflow answers to its names", lambda: checks.mlflow(project))
    step("Grafana's files ask what has an answer", lambda: checks.grafana(project))
    step("nobody is root, may write, or is published", lambda: checks.hardening(project))
    step("Redis knows users only", lambda: checks.users(project))
    ids = scaling(project) + faults(project)
    found = step(f"each of {len(ids)} answers is in the log once", lambda: checks.counted(project, ids))
    assert found == {"once": len(ids), "twice": 0, "dead": 0}, found
    step("an alert begins and ends", lambda: checks.an_alert(project))
    archive(project)
    if chosen.trainer:
        trainer(project)
    if chosen.keep:
        say(f"running until Ctrl-C: {json.dumps(project.ports)}")
        signal.sigwait({signal.SIGINT})


def weigh(project: Project) -> None:
    """Say how heavy each image is, and hold those to their limits that have one."""
    built = {name: image for name, image in project.images.items() if images.there(project.engine, image)}
    found = images.sizes(project.engine, built)
    say(f"MB over the base: {', '.join(f'{name} {size}' for name, size in sorted(found.items()))}")
    heavy = {name: found[name] for name, limit in images.LIMITS_MB.items() if found[name] >= limit}
    assert not heavy, f"heavier than allowed: {heavy}"


def scaling(project: Project) -> list[str]:
    """Four workers and two again, by `just scale-workers`, while nobody notices."""
    with Load(project.url("GATEWAY", "/predict"), callers=CALLERS, again=False) as load:
        for count in (4, 2):
            step(f"just scale-workers {count}", lambda count=count: project.run("just", "scale-workers", str(count)))
            assert project.healthy("worker", count)
            step(f"Prometheus scrapes {count} workers", lambda count=count: checks.scraping(project, count))
    say(f"scaling under load: {load}")
    assert not load.failed
    assert not load.wrong(), load.wrong()[:5]
    return [answer["id"] for answer in load.answers.values()]


def faults(project: Project) -> list[str]:
    """Crashes and a cut while callers repeat what was not answered; everything comes back by itself."""
    with Load(project.url("GATEWAY", "/predict"), callers=CALLERS, again=True) as load:
        for service, count in (("worker", 2), ("gateway", 1), ("redis", 1), ("monitor", 1)):
            crashed = project.crash(service)
            step(
                f"{service} crashed and came back",
                lambda service=service, count=count, crashed=crashed: eventually(
                    lambda: project.inspect(crashed)["RestartCount"] >= 1 and project.healthy(service, count),
                    f"{service} is back",
                ),
            )
        step("a worker was cut off, and came back", lambda: _cut(project, load))
    say(f"crashes under load: {load}")
    assert not load.wrong(), load.wrong()[:5]
    key = next(iter(load.answers))
    again = project.ask("GATEWAY", "/predict", {"text": load.wanted[key][0]}, **{"Idempotency-Key": key})
    assert again[1]["id"] == load.answers[key]["id"], again
    return [answer["id"] for answer in load.answers.values()]


def _cut(project: Project, load: Load) -> None:
    """Take one worker off the log's network for ten seconds; the other goes on, and the first comes back."""
    worker = project.containers("worker")[0]
    network = f"{NAME}_log"
    project.engine.docker("network", "disconnect", "--force", network, worker)
    time.sleep(10)
    answered = len(load.answers)
    eventually(lambda: len(load.answers) > answered + 20, "the other worker answers")
    project.engine.docker("network", "connect", network, worker)
    served = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9101/metrics').read().decode())"

    def texts() -> float:
        said = project.inside(worker, "python3", "-c", served).stdout.splitlines()
        return sum(float(line.split()[-1]) for line in said if line.startswith("observa_results_total{"))

    before = texts()
    eventually(lambda: texts() > before + 5, "the worker that was cut off answers again")


def archive(project: Project) -> None:
    """The profile: everything restarts with it, and files appear."""
    project.environment |= {"OBSERVA_ARCHIVE": "/archive", "OBSERVA_ARCHIVE_FLUSH_S": "2"}
    step("the archive joins", lambda: project.compose("--profile", "archive", "up", "-d", "--wait"))
    (container,) = project.containers("archive")
    find = ("find", "/archive", "-name", "*.parquet")
    step(
        "the archive has files",
        lambda: eventually(lambda: project.inside(container, *find).stdout, "a Parquet file"),
    )


def trainer(project: Project) -> None:
    """A model trained in its container, into a folder of its own, and seen by MLflow."""
    with tempfile.TemporaryDirectory(prefix="observa-models-") as models:
        Path(models).chmod(0o777)
        words = ("run", "--rm", "-T", "--volume", f"{models}:/app/models", "trainer", "train", "sentiment-linear")
        said = step("the trainer trains", lambda: project.compose("--profile", "trainer", *words))
        say(said.strip().splitlines()[-1])
        found = project.ask("TRAINER_MLFLOW", "/api/2.0/mlflow/registered-models/search")[1]
        assert "sentiment-linear" in json.dumps(found), found


def quick(project: Project) -> None:
    """The smallest image alone: built, no root, and one clear line where there is no log."""
    step("the gateway's image is built", lambda: project.compose("build", "--quiet", "gateway"))
    size = images.sizes(project.engine, {"gateway": project.images["gateway"]})["gateway"]
    say(f"MB over the base: {size}")
    assert size < images.LIMITS_MB["gateway"]
    run = ["docker", "run", "--rm", "--read-only", "--network", "none", project.images["gateway"]]
    said = subprocess.run(
        [*run, "python3", "-c", "import os, gateway.app; print(os.getuid())"],
        env=project.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.stdout.strip() == "10001", said.stderr


def step(what: str, do: Callable[[], Any]) -> Any:
    """Do it, and say how long it took."""
    began = time.monotonic()
    found = do()
    detail = f": {found}" if isinstance(found, str) and 0 < len(found) < 200 and "\n" not in found else ""
    say(f"{what} ({time.monotonic() - began:.1f} s){detail}")
    return found


def say(line: str) -> None:
    """One line, with the seconds since the beginning."""
    print(f"[{time.monotonic() - BEGAN:5.0f} s] {line}", flush=True)


if __name__ == "__main__":
    assert Path.cwd() == ROOT, f"run it from {ROOT}"
    sys.exit(main())
