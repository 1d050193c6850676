"""Kubernetes' files, built by kustomize and held against the schemas of what they name. Applied to no cluster here."""

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from kubernetes_validate import validate

from deploy.kubernetes.__main__ import FILE, write
from deploy.redis.__main__ import ROLES, make_users
from deploy.scaling.policy import KUBERNETES, Pace

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("single-redis", "managed-redis", "cluster")
CUSTOM = {"ScaledObject": ScaledObject, "ServiceMonitor": ServiceMonitor, "PrometheusRule": PrometheusRule}
SERVICES = ("gateway", "worker", "monitor", "explainer", "console")
Resource = dict[str, Any]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each overlay as its resources; secrets as `just redis-users` makes them, and the archive in one of them."""
    folder = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    shutil.copytree(FOLDER, folder)
    for overlay in OVERLAYS:
        secrets = folder / "overlays" / overlay / "secrets"
        make_users(secrets)
        (secrets / "ca.crt").touch()
    with (folder / "overlays" / "cluster" / "kustomization.yaml").open("a") as file:
        file.write("components: [../../components/archive]\n")

    @cache
    def build(overlay: str) -> list[Resource]:
        kubectl = Path(sys.executable).with_name("kubectl")
        done = subprocess.run(
            [kubectl, "kustomize", folder / "overlays" / overlay], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    return build


def of_kind(resources: list[Resource], *kinds: str) -> dict[str, Resource]:
    return {one["metadata"]["name"]: one for one in resources if one["kind"] in kinds}


def settings_of(resources: list[Resource]) -> dict[str, str]:
    return next(one["data"] for name, one in of_kind(resources, "ConfigMap").items() if "settings" in name)


def pods(resources: list[Resource]) -> dict[str, Resource]:
    return {
        name: one["spec"]["template"]["spec"]
        for name, one in of_kind(resources, "Deployment", "StatefulSet", "Job").items()
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_resource_follows_the_schema_of_its_kind(built, overlay):
    for resource in built(overlay):
        if resource["kind"] not in CUSTOM:
            validate(resource, "1.37", strict=True)
            continue
        wanted = json.loads(json.dumps(resource))
        if resource["kind"] == "ScaledObject":  # newer than the types that Python 3.11 gets: since KEDA 2.17
            assert wanted["spec"]["fallback"].pop("behavior") in {"static", "currentReplicasIfHigher"}
        read = CUSTOM[resource["kind"]].model_validate(wanted)
        assert json.loads(read.model_dump_json(by_alias=True, exclude_unset=True)) == wanted, "an unknown field"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_nobody_and_may_write_nothing_but_its_mounts(built, overlay):
    for name, pod in pods(built(overlay)).items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert "memory" in container["resources"]["limits"], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_service_is_probed_on_a_port_it_has_and_knows_its_own_password_only(built, overlay):
    for name, pod in pods(built(overlay)).items():
        if name.startswith("observa-redis"):
            continue
        container = pod["containers"][0]
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            how = container[probe].get("httpGet") or container[probe]["tcpSocket"]
            assert how["port"] in ports, (name, probe)
        if name in {"observa-worker", "observa-monitor", "observa-explainer", "observa-archive"}:
            assert container["livenessProbe"]["httpGet"]["path"] == "/livez", name  # do its readers come round
        role = name.removeprefix("observa-")
        secrets = [volume["secret"] for volume in pod["volumes"] if "redis-passwords" in str(volume)]
        keys = {item["key"] for secret in secrets for item in secret["items"]} - {"ca.crt"}
        assert keys == (set() if role == "console" else {f"{role}.password"})
        users = [one["value"] for one in container["env"] if one["name"] == "OBSERVA_REDIS_USER"]
        assert users == [role] * (role != "console")
        assert set(users) <= set(ROLES)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_targets_of_the_dockerfile_and_listen_where_it_says(built, overlay):
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = dict(re.findall(r"^FROM service AS (\w+)\n(.*?)(?=^FROM|\Z)", dockerfile, re.MULTILINE | re.DOTALL))
    exposed = {
        target: set(" ".join(re.findall(r"^EXPOSE (.*)$", stage, re.MULTILINE)).split())
        for target, stage in stages.items()
    }
    for name, one in of_kind(built(overlay), "Deployment").items():
        container = one["spec"]["template"]["spec"]["containers"][0]
        target = name.removeprefix("observa-")
        assert container["image"] == f"observa-{target}:latest"
        assert {str(port["containerPort"]) for port in container["ports"]} == exposed[target]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_pods_and_everything_else_is_refused(built, overlay):
    resources = built(overlay)
    labels = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in of_kind(resources, "Deployment", "StatefulSet", "Job").values()
    ]
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        for name, one in of_kind(resources, kind).items():
            spec = one["spec"]
            wanted = spec["selector"] if kind == "Service" else spec.get("selector", spec.get("podSelector"))
            wanted = wanted.get("matchLabels", {} if "matchExpressions" in wanted else wanted)
            assert any(wanted.items() <= one.items() for one in labels), (kind, name)
    refuse = of_kind(resources, "NetworkPolicy")["observa-refuse"]["spec"]
    assert refuse == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert of_kind(resources, "PodDisruptionBudget").keys() >= {"observa-gateway", "observa-worker"}


@pytest.mark.parametrize(
    ("overlay", "scheme", "shards"),
    [("single-redis", "redis", 1), ("managed-redis", "rediss", 1), ("cluster", "redis+cluster", 16)],
)
def test_an_overlay_says_where_the_log_is(built, overlay, scheme, shards):
    settings = settings_of(built(overlay))
    assert settings["OBSERVA_REDIS_URL"].startswith(f"{scheme}://")
    assert settings["OBSERVA_SHARDS"] == str(shards)
    assert bool(of_kind(built(overlay), "StatefulSet")) == (overlay != "managed-redis")


def test_jobs_in_the_rules_are_services_that_are_scraped(built):
    resources = built("cluster")
    asked = set(re.findall(r'job="([\w-]+)"', FILE.read_text()))
    monitors = of_kind(resources, "ServiceMonitor").values()
    scraped = {
        name
        for name in of_kind(resources, "Service")
        for monitor in monitors
        if name == monitor["spec"]["selector"]["matchLabels"].get("app.kubernetes.io/name")
        or name in str(monitor["spec"]["selector"].get("matchExpressions"))
    }
    assert asked
    assert asked <= scraped


def test_the_rules_are_those_of_prometheus_and_current(tmp_path):
    write(tmp_path / "rule.yaml")
    assert (tmp_path / "rule.yaml").read_text() == FILE.read_text(), "run: just kubernetes-rules"


def test_workers_are_scaled_by_the_pace_that_was_simulated_and_never_to_none(built):
    scaled = of_kind(built("single-redis"), "ScaledObject")["observa-worker"]["spec"]
    behaviour = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    up, down = (
        {one["type"]: one for one in behaviour[direction]["policies"]} for direction in ("scaleUp", "scaleDown")
    )
    assert (
        Pace(
            up_factor=1 + up["Percent"]["value"] / 100,
            up_step=up["Pods"]["value"],
            up_period_s=up["Pods"]["periodSeconds"],
            down_share=down["Percent"]["value"] / 100,
            down_step=down["Pods"]["value"],
            down_period_s=down["Pods"]["periodSeconds"],
            settle_s=behaviour["scaleDown"]["stabilizationWindowSeconds"],
            tolerance=0.1,  # Kubernetes' own
        )
        == KUBERNETES
    )
    assert scaled["minReplicaCount"] >= 1
    assert "idleReplicaCount" not in scaled
    assert "replicas" not in of_kind(built("single-redis"), "Deployment")["observa-worker"]["spec"]


def test_triggers_read_recorded_series_count_in_workers_and_take_no_answer_for_no_zero(built):
    scaled = of_kind(built("single-redis"), "ScaledObject")["observa-worker"]["spec"]
    recorded = set(re.findall(r"record: (\S+)", FILE.read_text()))
    for trigger in scaled["triggers"]:
        assert set(re.findall(r"model:[\w:]+", trigger["metadata"]["query"])) <= recorded
        assert trigger["metadata"]["threshold"] == "1"
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert trigger["metricType"] == "AverageValue"  # the only one for which KEDA knows a fallback
    assert {trigger["name"] for trigger in scaled["triggers"]} == {"load", "age"}
