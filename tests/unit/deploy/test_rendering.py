"""Command lines and configuration files say what the settings say."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy import connect_worker, kafka_broker, redis_server
from deploy.errors import StackError
from deploy.services import all_services
from feature_repo.sections.servers import CdcSettings, ConnectSettings, KafkaSettings, RedisSettings
from feature_repo.settings import Settings


def settings(home: Path, kafka: KafkaSettings | None = None, redis: RedisSettings | None = None) -> Settings:
    return Settings(home=home, kafka=kafka or KafkaSettings(), redis=redis or RedisSettings())


def test_the_broker_listens_where_it_is_told_and_dates_events_itself(tmp_path: Path) -> None:
    kafka = KafkaSettings(host="127.0.0.2", port=19, controller_port=20, heap="300m", partitions=3)
    given = settings(tmp_path, kafka=kafka)

    properties = dict(line.split("=", 1) for line in kafka_broker.render_properties(given).splitlines())

    assert properties["listeners"] == "PLAINTEXT://127.0.0.2:19,CONTROLLER://127.0.0.2:20"
    assert properties["controller.quorum.voters"] == "1@127.0.0.2:20"
    assert properties["log.dirs"] == str(tmp_path / "kafka")
    assert properties["log.message.timestamp.type"] == "LogAppendTime"
    assert properties["auto.create.topics.enable"] == "false"
    assert properties["num.partitions"] == "3"
    assert "-Xmx300m" in kafka_broker.command(given)


def test_the_cluster_id_is_lasting_and_cannot_be_taken_for_an_option(tmp_path: Path) -> None:
    ids = {kafka_broker.cluster_id(settings(tmp_path / str(number))) for number in range(200)}

    assert len(ids) == 200
    assert all(len(identity) == 22 and not identity.startswith("-") for identity in ids)
    assert kafka_broker.cluster_id(settings(tmp_path / "7")) in ids


def test_storage_is_formatted_once(tmp_path: Path) -> None:
    given = settings(tmp_path)
    assert [task.name for task in kafka_broker.prepare(given)] == ["kafka-format"]

    kafka_broker.storage(given).mkdir()
    identity = kafka_broker.storage(given) / "meta.properties"
    identity.write_text("")
    assert [task.name for task in kafka_broker.prepare(given)] == ["kafka-format"]
    assert not identity.exists()

    identity.write_text("version=1\ncluster.id=abc\n")
    assert kafka_broker.prepare(given) == []


def test_redis_keeps_every_write_and_its_password_to_itself(tmp_path: Path) -> None:
    given = settings(tmp_path, redis=RedisSettings(port=6390, password=SecretStr('se"cret')))

    redis_server.prepare(given)

    path = Path(redis_server.command(given)[1])
    lines = path.read_text().splitlines()
    assert {"bind 127.0.0.1", "port 6390", "appendonly yes", 'requirepass "se\\"cret"'} <= set(lines)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any("se" + '"cret' in word for word in redis_server.command(given))


def test_a_configured_redis_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"SHELFWISE_REDIS__SERVER is .*missing"):
        redis_server.find_server(settings(tmp_path, redis=RedisSettings(server=str(tmp_path / "missing"))))


def test_services_start_in_order_with_this_python(tmp_path: Path) -> None:
    services = all_services(settings(tmp_path))

    assert list(services) == ["kafka", "redis", "collector", "stream", "serving", "connect", "cdc", "traffic"]
    stages = [service.stage for service in services.values()]
    assert stages == sorted(stages)
    assert services["collector"].command() == [sys.executable, "-m", "ingestion", "collector"]
    assert services["stream"].command() == [sys.executable, "-m", "ingestion", "stream"]
    assert services["serving"].command() == [sys.executable, "-m", "serving"]
    assert [name for name, service in services.items() if not service.everyday] == ["connect", "cdc", "traffic"]


def test_the_worker_gets_the_password_by_its_environment_alone(tmp_path: Path) -> None:
    cdc = CdcSettings(host="db.example", password=SecretStr("hunter2"))
    given = Settings(home=tmp_path, cdc=cdc, connect=ConnectSettings(port=18, heap="300m"))

    properties = connect_worker.render_properties(given)
    variables = connect_worker.environment(given)

    assert "listeners=http://127.0.0.1:18\n" in properties
    assert "hunter2" not in properties
    assert "-Xmx300m" in connect_worker.command(given)
    assert (variables["SHELFWISE_CDC__HOST"], variables["SHELFWISE_CDC__PASSWORD"]) == ("db.example", "hunter2")


@pytest.mark.parametrize(
    ("kafka", "copies"),
    [
        (KafkaSettings(), 1),
        (KafkaSettings(bootstrap="a:1,b:1,c:1"), -1),
        (KafkaSettings(bootstrap="a:1,b:1,c:1", replication=3), 3),
    ],
)
def test_what_connect_keeps_in_kafka_has_as_many_copies_as_is_set(
    tmp_path: Path, kafka: KafkaSettings, copies: int
) -> None:
    properties = connect_worker.render_properties(settings(tmp_path, kafka=kafka))

    assert properties.count(f".replication.factor={copies}\n") == 3


def test_a_mapper_without_a_mapping_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="SHELFWISE_CDC__MAPPING is empty"):
        connect_worker.check_mapping(settings(tmp_path))


def test_servers_of_ones_own_are_only_reached(tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap="broker-1:9092,broker-2:9092")
    services = all_services(settings(tmp_path, kafka=kafka, redis=RedisSettings(url="cache:6379")))

    assert services["kafka"].elsewhere == "SHELFWISE_KAFKA__BOOTSTRAP"
    assert services["kafka"].address == "broker-1:9092,broker-2:9092"
    assert services["redis"].elsewhere == "SHELFWISE_REDIS__URL"
    assert services["redis"].address == "cache:6379"
