import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.local import environment

ROOT = Path(__file__).resolve().parents[2]
PINNED = sorted(path.name for path in (ROOT / "requirements").glob("*.txt"))
RECIPES = {
    "up",
    "down",
    "status",
    "logs",
    "doctor",
    "scale-workers",
    "autoscale",
    "capacity",
    "clean",
    "redis-url",
    "redis",
    "redis-users",
    "keys",
    "predict",
    "feedback",
    "dead",
    "log",
    "evaluate",
    "train",
    "install-trainer",
    "check",
    "lint",
    "types",
    "test",
    "lock",
    "build",
    "compose-test",
    "asyncapi",
}


def requirements(name):
    """Package name to the whole entry, hashes included."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "requirements" / name).read_text(), flags=re.MULTILINE)
    return {entry.split("==")[0]: entry for entry in text.replace("\\\n", " ").splitlines() if entry.strip()}


@pytest.mark.parametrize("name", PINNED)
def test_every_requirement_is_pinned_with_hashes_and_names_no_host(name):
    assert "://" not in (ROOT / "requirements" / name).read_text()
    for entry in requirements(name).values():
        assert re.match(r"[a-z0-9._\[\]-]+==\S+ ", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("name", ["gateway.txt", "worker.txt", "monitor.txt", "local.txt"])
def test_services_install_neither_torch_nor_mlflow(name):
    assert not {"torch", "mlflow", "transformers", "scikit-learn"} & requirements(name).keys()


@pytest.mark.parametrize("name", ["gateway.txt", "worker.txt", "monitor.txt", "dev.txt"])
def test_all_rooms_pin_the_same_versions(name):
    def versions(of):
        return {package: entry.split(" ")[0] for package, entry in requirements(of).items()}

    local = versions("local.txt")
    assert {p: v for p, v in versions(name).items() if p in local and v != local[p]} == {}


def test_an_environment_is_made_once(tmp_path, monkeypatch):
    pins = tmp_path / "pins.txt"
    pins.write_text("")
    stamp = environment.wanted_stamp(pins)
    folder = tmp_path / "venv"
    assert not environment.is_current(folder, stamp)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    if shutil.which("uv") is None:
        pytest.skip("uv is not on PATH")
    environment.make(pins, folder, stamp)
    assert environment.is_current(folder, stamp)
    pins.write_text("# changed\n")
    assert not environment.is_current(folder, environment.wanted_stamp(pins))


def test_compose_follows_its_schema():
    check = [str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*check, str(ROOT / "compose.yaml")], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_compose_publishes_to_loopback_only_and_the_log_not_at_all():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert "ports" not in services["redis"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    ends = {"setup", "cli", "trainer"}
    assert {service["restart"] for name, service in services.items() if name not in ends} == {"always"}
    assert {services[name]["restart"] for name in ends} == {"no"}


def test_every_service_in_compose_is_held_in():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert {"mem_limit", "pids_limit", "tmpfs"} <= service.keys(), name
    assert [name for name, service in services.items() if service.get("networks") == ["log"]] == ["redis"]


def test_every_image_runs_as_a_user_and_has_its_own_libraries():
    text = (ROOT / "Dockerfile").read_text()
    assert "# syntax" not in text  # it would be pulled, and the engine's own reader knows all that is used here
    named = {stage.split()[2]: stage for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]}
    images = [name for name, stage in named.items() if stage.startswith("service AS")]
    assert {"gateway", "worker", "explainer", "monitor", "archive", "console", "trainer"} <= set(images)
    for image in images:
        users = re.findall(r"^USER (.*)$", named["service"] + named[image], re.MULTILINE)
        assert users[-1] == "10001:10001", image
        assert "HEALTHCHECK" in named[image], image
        assert re.findall(r"--from=(\S+)", named[image]) == [f"{image}-libraries"]
        assert f"COPY requirements/{image}.txt ." in named[f"{image}-libraries"]


@pytest.mark.skipif(shutil.which("just") is None, reason="just is not on PATH")
def test_every_recipe_is_listed_with_its_purpose():
    listed = subprocess.run(
        ["just", "--list", "--justfile", str(ROOT / "justfile")], capture_output=True, text=True, check=True
    )
    described = {line.split()[0] for line in listed.stdout.splitlines() if "#" in line}
    assert described >= RECIPES
    assert not re.search(r"^\s+_", listed.stdout, re.MULTILINE)
