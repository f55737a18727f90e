"""Settings: environment over file over defaults, and nothing misspelt passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from feature_repo.errors import SettingsError
from feature_repo.sections.servers import KafkaSettings
from feature_repo.settings import get_settings, variable_names

pytestmark = pytest.mark.usefixtures("fresh_settings")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "shelfwise.toml"
    file.write_text("[kafka]\nport = 1111\npartitions = 7\n")
    monkeypatch.setenv("SHELFWISE_CONFIG", str(file))
    monkeypatch.setenv("SHELFWISE_KAFKA__PORT", "2222")
    assert (get_settings().kafka.port, get_settings().kafka.partitions) == (2222, 7)


def test_topics_are_made_as_the_brokers_do_or_so_that_one_broker_may_go() -> None:
    def copies(replication: int) -> tuple[int, str | None]:
        topic = KafkaSettings(replication=replication).new_topic(4, {"retention.ms": "1"})
        assert (topic["num_partitions"], topic["configs"]["retention.ms"]) == (4, "1")
        return topic["replication_factor"], topic["configs"].get("min.insync.replicas")

    assert [copies(number) for number in (0, 1, 2, 3)] == [(-1, None), (1, "1"), (2, "1"), (3, "2")]


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_KAFKA_PORT", "1")
    with pytest.raises(SettingsError, match="SHELFWISE_KAFKA_PORT"):
        get_settings()


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "shelfwise.toml"
    file.write_text("[kafka]\nprot = 1\n")
    monkeypatch.setenv("SHELFWISE_CONFIG", str(file))
    with pytest.raises(SettingsError, match="prot"):
        get_settings()


def test_a_value_of_the_wrong_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_KAFKA__PORT", "many")
    with pytest.raises(SettingsError, match="port"):
        get_settings()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SERVING__PORT", "99999", r"serving.port \(SHELFWISE_SERVING__PORT\): .*65535"),
        ("SERVING__WORKERS", "0", "serving.workers"),
        ("SERVING__SNAPSHOT_SECONDS", "-1", "serving.snapshot_seconds"),
        ("COLLECTOR__WRITE_KEY", "a:b", "COLLECTOR__WRITE_KEY.: .*no colon"),
        ("PRIVACY__KEY", "a:b", "PRIVACY__KEY.: .*no colon"),
        ("SERVING__READ_KEYS", "abc", r'SHELFWISE_SERVING__READ_KEYS: a list is written as \["a", "b"\]'),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"SHELFWISE_{name}", value)
    with pytest.raises(SettingsError, match=told):
        get_settings()


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_CONFIG", "nowhere.toml")
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        get_settings()


def test_one_setting_of_a_ranker_leaves_its_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = get_settings().training.order_ranker
    get_settings.cache_clear()
    monkeypatch.setenv("SHELFWISE_TRAINING__ORDER_RANKER__TREES", "77")
    assert get_settings().training.order_ranker == before.model_copy(update={"trees": 77})


def test_secrets_are_masked() -> None:
    assert "demo-write-key" not in repr(get_settings())


def test_every_setting_is_described() -> None:
    assert all(variable_names().values())


@pytest.mark.parametrize(
    ("url", "cluster", "told"),
    [
        ("", "true", "`cluster` needs `url`"),
        ("a:1,b:2", "false", "SHELFWISE_REDIS__CLUSTER=true"),
        ("a:1,b", "true", "host:port"),
        ("a", "false", "host:port"),
    ],
)
def test_a_redis_that_cannot_be_is_refused(url: str, cluster: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_REDIS__URL", url)
    monkeypatch.setenv("SHELFWISE_REDIS__CLUSTER", cluster)
    with pytest.raises(SettingsError, match=re.escape(told)):
        get_settings()


def test_nodes_of_a_redis_cluster_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_REDIS__URL", "a.internal:6379, b.internal:6380")
    monkeypatch.setenv("SHELFWISE_REDIS__CLUSTER", "true")
    assert get_settings().redis.addresses == [("a.internal", 6379), ("b.internal", 6380)]
