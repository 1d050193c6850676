"""Files for clouds, held against schemas. Nothing is deployed from here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from broker.settings import BrokerSettings
from gateway.settings import GatewaySettings

ROOT = Path(__file__).resolve().parents[2]
CLOUD = ROOT / "deploy" / "cloud"
SCHEMAS = [  # cloud-init's own, as Debian ships it: installed, or unpacked by .ci/run
    path / "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
    for path in (Path("/"), ROOT / ".cache" / "cloud-init")
]
INSTALL = "cloud-init's schema is not here: apt-get download cloud-init && dpkg -x cloud-init_*.deb .cache/cloud-init"


def check(schema, file):
    command = [Path(sys.executable).with_name("check-jsonschema"), "--schemafile", schema, file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_virtual_machine_follows_the_schema_of_cloud_init(tmp_path):
    schema = next((path for path in SCHEMAS if path.exists()), None)
    if schema is None:
        pytest.skip(INSTALL)
    done = check(schema, CLOUD / "cloud-init.yaml")
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((CLOUD / "cloud-init.yaml").read_text().replace("content: |", "contents: |", 1))
    assert check(schema, wrong).returncode == 1


def test_the_virtual_machine_starts_services_of_compose_by_a_script_that_a_shell_can_read():
    text = (CLOUD / "cloud-init.yaml").read_text()
    assert text.startswith("#cloud-config\n")
    found = yaml.safe_load(text)
    script = next(one["content"] for one in found["write_files"] if one["path"].endswith("observa-up"))
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for line in re.findall(r"docker compose (?:build|up -d --wait) (.*)", script):
        assert set(line.split()) <= services.keys()


def test_render_follows_its_documentation_and_names_settings_that_exist(tmp_path):
    schema, file = Path(__file__).with_name("schemas") / "render.json", CLOUD / "render.yaml"
    done = check(schema, file)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(file.read_text().replace("numInstances: 1", "instances: 1"))
    assert check(schema, wrong).returncode == 1
    services = {one["name"]: one for one in yaml.safe_load(file.read_text())["services"]}
    known = BrokerSettings.model_fields | GatewaySettings.model_fields
    for service in services.values():
        for variable in service.get("envVars", ()):
            assert variable["key"] == "PORT" or variable["key"].removeprefix("OBSERVA_").lower() in known
            if named := variable.get("fromService"):
                assert services[named["name"]]["type"] == named["type"]
    assert services["observa-log"]["maxmemoryPolicy"] == "noeviction"
    assert services["observa-log"]["ipAllowList"] == []


@pytest.mark.parametrize("name", ["cloud-init.yaml", "render.yaml"])
def test_a_file_says_that_it_was_not_deployed(name):
    assert "NOT DEPLOYED FROM HERE" in (CLOUD / name).read_text()
