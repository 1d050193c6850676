"""The steps of the trial, in order; each says how long it took."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.compose import checks, images
from tests.compose.engine import ROOT
from tests.compose.load import Load
from tests.compose.project import NAME, Project, eventually

CALLERS = 8
SHORT = ("redis", "worker", "gateway")
BEGAN = time.monotonic()


def full(project: Project, *, with_trainer: bool) -> None:
    """Everything that compose.yaml promises."""
    built = ["--profile", "archive", "--profile", "cli", *(["--profile", "trainer"] if with_trainer else [])]
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
    if with_trainer:
        trainer(project)


def weigh(project: Project) -> None:
    """Say how heavy each image is, and hold those to their limits that have one."""
    built = {image.removeprefix(f"{NAME}-"): image for image in project.images.values()}
    built = {name: image for name, image in built.items() if images.there(project.engine, image)}
    found = images.sizes(project.engine, built)
    say(f"MB over the base: {', '.join(f'{name} {size}' for name, size in sorted(found.items()))}")
    heavy = {name: size for name, size in found.items() if size >= images.LIMITS_MB.get(name, size + 1)}
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
    project.run("just", "_demo-texts")  # its texts, since a container of our own engine reaches no package index
    with tempfile.TemporaryDirectory(prefix="observa-trained-", ignore_cleanup_errors=True) as folder:
        cache, models = Path(folder, "cache"), Path(folder, "models")
        shutil.copytree(ROOT / ".cache" / "trainer", cache)
        models.mkdir()
        for place in (cache, models):
            place.chmod(0o777)  # the container's user is another
        places = ("--volume", f"{cache}:/cache", "--volume", f"{models}:/app/models")
        words = ("run", "--rm", "-T", *places, "trainer", "train", "sentiment-linear")
        said = step("the trainer trains", lambda: project.compose("--profile", "trainer", *words))
        say(said.strip().splitlines()[-1])
        assert (models / "sentiment-linear" / "live.json").exists()
    found = project.ask("TRAINER_MLFLOW", "/api/2.0/mlflow/registered-models/search")[1]
    assert "sentiment-linear" in json.dumps(found), found


def quick(project: Project) -> None:
    """The way of one request, in four containers."""
    step(f"{', '.join(SHORT)} are built and healthy", lambda: project.compose("up", "-d", "--wait", *SHORT))
    weigh(project)
    step("the README's curl is answered", lambda: checks.the_readmes_curl(project))
    step("nobody is root, may write, or is published", lambda: checks.hardening(project, SHORT))
    step("Redis knows users only", lambda: checks.users(project))


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
