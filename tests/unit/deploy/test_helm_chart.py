"""The Helm chart: accepted by its linters, and the same stack as compose.yaml, which is that of one machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from server_descriptions import (
    ALL_VALUES,
    CHART,
    KEYS,
    KUBERNETES,
    OWN,
    Manifest,
    compose,
    lint,
    named,
    needs_linters,
    pods,
    rendered,
)

from feature_repo.settings import ENV_PREFIX, PROJECT_ROOT, variable_names

pytestmark = needs_linters
SERVICES = compose()["services"]
WAYS = pytest.mark.parametrize("options", [(), ("--values", str(ALL_VALUES))], ids=["defaults", "all"])


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return rendered()


@pytest.fixture(scope="module")
def with_all() -> list[Manifest]:
    return rendered("--values", str(ALL_VALUES))


def container(pod: Manifest, name: str) -> Manifest:
    (found,) = [one for one in [*pod.get("initContainers", []), *pod["containers"]] if one["name"] == name]
    return found


def environment(one: Manifest) -> dict[str, Any]:
    return {pair["name"]: pair.get("value") for pair in one["env"]}


@WAYS
def test_helm_lint_finds_nothing(options: tuple[str, ...]) -> None:
    done = lint("helm", "lint", "--strict", "--kube-version", KUBERNETES, str(CHART), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@WAYS
def test_kubernetes_knows_every_field(options: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "manifests.yaml"
    # The operator's own kinds are not part of Kubernetes.
    known = [one for one in rendered(*options) if one["apiVersion"] != "monitoring.coreos.com/v1"]
    file.write_text(yaml.safe_dump_all(known))
    done = lint("kubernetes-validate", "--strict", "--kubernetes-version", KUBERNETES, str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count(" passed ") == len(known)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("colector.replicas=3", "colector"),
        ("stream.replicas=2", "replicas"),
        ("kafka.inCluster=false", "bootstrap"),
        ("redis.inCluster=false", "url"),
        ("settings.SHELFWISE_REDIS__PASSWORD=secret", "SHELFWISE_REDIS__PASSWORD"),
        ("settings.OTHER=1", "OTHER"),
        ("secret=", "secret"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(option: str, told: str) -> None:
    done = lint("helm", "template", str(CHART), "--kube-version", KUBERNETES, "--set", option)
    assert done.returncode == 1
    assert told in done.stderr


def test_the_pods_run_the_commands_of_compose(manifests: list[Manifest]) -> None:
    stack = dict(pods(manifests))
    assert set(stack) == {"kafka", "redis", *OWN}
    for name in OWN:
        assert container(stack[name], name)["command"] == ["tini", "--", *SERVICES[name]["command"]]
    for name in ("topics", "features"):
        assert container(stack["stream"], name)["command"] == SERVICES[name]["command"]
    order = [one["name"] for one in stack["stream"]["initContainers"]]
    assert order == ["topics", "features", "applied"]
    for name in ("kafka", "redis"):
        assert container(stack[name], name)["image"] == SERVICES[name]["image"]


def test_the_settings_are_those_of_compose(manifests: list[Manifest]) -> None:
    secret = {name for name in KEYS if name.startswith(ENV_PREFIX)}
    shared = SERVICES["tools"]["environment"]
    settings = named(manifests, "ConfigMap", "shop-shelfwise")["data"]
    assert settings == {name: f"shop-shelfwise-{value}" for name, value in shared.items() if name not in secret}
    for name, pod in pods(manifests):
        if name in OWN:
            own = {key: value for key, value in SERVICES[name]["environment"].items() if shared[key] != value}
            folder = {"SHELFWISE_SERVING__METRICS_FOLDER": "/counts"} if name == "serving" else {}
            assert environment(container(pod, name)) == own | folder
            for one in [*pod.get("initContainers", []), *pod["containers"]]:
                assert one["envFrom"] == [
                    {"configMapRef": {"name": "shop-shelfwise"}},
                    {"secretRef": {"name": "shelfwise"}},
                ]


def test_every_setting_that_it_names_exists() -> None:
    texts = [path.read_text() for path in CHART.rglob("*.yaml") if "files" not in path.parts]
    used = set(re.findall(rf"\b{ENV_PREFIX}[A-Z_]+", " ".join(texts)))
    assert len(used) > 5
    assert used <= set(variable_names())


def test_kubernetes_gives_the_processes_no_variables_that_look_like_settings(with_all: list[Manifest]) -> None:
    """With a release named `shelfwise`, SHELFWISE_COLLECTOR_SERVICE_HOST would be refused as an unknown setting."""
    found = list(pods(with_all))
    assert {"catalog", "retrain"} <= {name for name, _ in found}
    for _, pod in found:
        assert pod["enableServiceLinks"] is False


def test_ports_and_probes_are_where_the_processes_answer(manifests: list[Manifest]) -> None:
    stack = dict(pods(manifests))
    for name in OWN:
        (port,) = container(stack[name], name)["ports"]
        (published,) = SERVICES[name]["ports"]
        assert published.endswith(f":{port['containerPort']}")
        (of_service,) = named(manifests, "Service", f"-{name}")["spec"]["ports"]
        assert (of_service["port"], of_service["targetPort"]) == (port["containerPort"], "http")
    serving = container(stack["serving"], "serving")
    assert serving["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert serving["readinessProbe"]["httpGet"]["path"] == "/livez"
    assert container(stack["collector"], "collector")["readinessProbe"]["httpGet"]["path"] == "/health"
    assert container(stack["stream"], "stream")["readinessProbe"]["exec"]["command"] == [
        *SERVICES["stream"]["healthcheck"]["test"][1:]
    ]


def test_the_servers_are_configured_as_in_compose(manifests: list[Manifest]) -> None:
    kafka = environment(container(dict(pods(manifests))["kafka"], "kafka"))
    same = {name: value for name, value in SERVICES["kafka"]["environment"].items() if name != "KAFKA_LOG_DIRS"}
    same["KAFKA_ADVERTISED_LISTENERS"] = "PLAINTEXT://shop-shelfwise-kafka:9092"
    assert {**kafka, "KAFKA_LOG_DIRS": None} == {**same, "KAFKA_LOG_DIRS": None}
    redis = named(manifests, "ConfigMap", "-redis")["data"]["valkey.conf"]
    content = compose()["configs"]["redis"]["content"]
    assert redis.splitlines() == [line for line in content.splitlines() if not line.startswith("requirepass")]


def test_the_limits_are_those_of_compose(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        limit = container(pod, name)["resources"]["limits"]["memory"]
        assert limit.lower().removesuffix("i") == SERVICES[name]["deploy"]["resources"]["limits"]["memory"]


def test_there_is_one_stream_and_what_shares_its_volume_is_on_its_node(
    manifests: list[Manifest], with_all: list[Manifest]
) -> None:
    assert named(manifests, "StatefulSet", "-stream")["spec"]["replicas"] == 1
    for one in (*manifests, *with_all):
        spec = one.get("spec", {}).get("jobTemplate", one).get("spec", {})
        if "template" not in spec:
            continue
        pod = spec["template"]["spec"]
        at_home = any("persistentVolumeClaim" in volume for volume in pod.get("volumes", []))
        assert at_home == ("shelfwise/home" in spec["template"]["metadata"]["labels"])
        if one in manifests:
            assert at_home == ("affinity" in pod)
        else:
            assert "affinity" not in pod


def test_each_pod_of_the_service_has_the_files_that_it_counts_in_for_itself(manifests: list[Manifest]) -> None:
    """BentoML empties the folder when it starts, and names the files by process ids, which pods have in common."""
    pod = dict(pods(manifests))["serving"]
    serving = container(pod, "serving")
    folder = environment(serving)["SHELFWISE_SERVING__METRICS_FOLDER"]
    (volume,) = [one["name"] for one in serving["volumeMounts"] if one["mountPath"] == folder]
    assert {"name": volume, "emptyDir": {}} in pod["volumes"]


def test_nobody_is_root(with_all: list[Manifest], manifests: list[Manifest]) -> None:
    for _, pod in [*pods(manifests), *pods(with_all)]:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for one in [*pod.get("initContainers", []), *pod["containers"]]:
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_alarms_and_dashboard_are_the_projects(with_all: list[Manifest]) -> None:
    monitoring = PROJECT_ROOT / "deploy" / "monitoring"
    rules = named(with_all, "PrometheusRule", "shop-shelfwise")
    assert rules["spec"] == yaml.safe_load((monitoring / "alerts.yml").read_text())
    dashboard = named(with_all, "ConfigMap", "-dashboard")["data"]["shelfwise.json"]
    assert dashboard == (monitoring / "grafana" / "shelfwise.json").read_text()
    jobs = {
        one["spec"]["endpoints"][0]["relabelings"][0]["replacement"]
        for one in with_all
        if one["kind"] == "ServiceMonitor"
    }
    assert jobs == set(re.findall(r'job="([\w-]+)"', (monitoring / "alerts.yml").read_text()))
