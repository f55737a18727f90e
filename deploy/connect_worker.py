"""A worker of Kafka Connect in distributed mode, with Debezium as its plugin, from the jars that set-up fetched."""

from __future__ import annotations

from pathlib import Path

from deploy.errors import StackError
from deploy.java import java_command
from deploy.kafka_broker import LOGGING, escaped
from deploy.tasks import Task
from feature_repo.settings import Settings, variable_names

_VARIABLES = "SHELFWISE_CDC__"


def check(settings: Settings) -> None:
    """Make sure that there is a Java, a worker and a plugin to run.

    Raises:
        JavaError, StackError: there is not.
    """
    java_command()
    for jar in ("connect/connect-runtime-*.jar", "debezium/debezium-connector-postgres-*.jar"):
        if not any(settings.jars.glob(jar)):
            raise StackError(f"there is no {jar} in {settings.jars}; `make up WITH=cdc` fetches it")


def check_mapping(settings: Settings) -> None:
    """Make sure that there is a file that says what the tables mean.

    Raises:
        StackError: there is not.
    """
    mapping = settings.cdc.mapping
    if not mapping or not Path(mapping).is_file():
        named = f"names {mapping}, which is not a file" if mapping else "is empty"
        raise StackError(f"SHELFWISE_CDC__MAPPING {named}; docs/cdc.md says what the file holds")


def prepare(settings: Settings) -> list[Task]:
    """Write the worker's configuration."""
    path = _properties_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_properties(settings))
    # Connect looks for plugins in the folders of a folder, and ours lie beside jars that are none.
    plugin = _plugins(settings) / "debezium"
    plugin.parent.mkdir(exist_ok=True)
    plugin.unlink(missing_ok=True)
    plugin.symlink_to(settings.jars.resolve() / "debezium")
    return []


def command(settings: Settings) -> list[str]:
    """Command line of the worker."""
    options = [f"-Xmx{settings.connect.heap}", "-XX:+ExitOnOutOfMemoryError", f"-Dlog4j2.configurationFile={LOGGING}"]
    paths = ":".join(str(settings.jars / folder / "*") for folder in ("kafka", "connect"))
    main = "org.apache.kafka.connect.cli.ConnectDistributed"
    return [java_command(), *options, "-cp", paths, main, str(_properties_path(settings))]


def environment(settings: Settings) -> dict[str, str]:
    """What connectors may name as ``${env:NAME}``: the settings of the database, wherever they come from."""
    cdc = settings.cdc.model_dump()
    values = {
        name: cdc[name.removeprefix(_VARIABLES).lower()] for name in variable_names() if name.startswith(_VARIABLES)
    }
    return {
        **{name: str(value) for name, value in values.items()},
        f"{_VARIABLES}PASSWORD": settings.cdc.password.get_secret_value(),
    }


def render_properties(settings: Settings) -> str:
    """The worker's configuration file."""
    connect = settings.connect
    # One of our own nodes has one copy; elsewhere, unless it is set, the brokers' default says how many.
    copies = 1 if settings.kafka.embedded else settings.kafka.copies
    json = "org.apache.kafka.connect.json.JsonConverter"
    properties = {
        "bootstrap.servers": settings.kafka.servers,
        "group.id": "shelfwise-connect",
        "listeners": f"http://{connect.host}:{connect.port}",
        "rest.advertised.host.name": connect.host,
        "plugin.path": _plugins(settings),
        "plugin.discovery": "service_load",
        "key.converter": json,
        "value.converter": json,
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "config.storage.topic": "shelfwise.connect.configs",
        "offset.storage.topic": "shelfwise.connect.offsets",
        "status.storage.topic": "shelfwise.connect.status",
        "config.storage.replication.factor": copies,
        "offset.storage.replication.factor": copies,
        "status.storage.replication.factor": copies,
        "offset.storage.partitions": 4,
        "status.storage.partitions": 2,
        "offset.flush.interval.ms": 5_000,
        # How soon one that was killed is missed; brokers do not take less by default.
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 2_000,
        # A worker that was killed leaves no other that could take over, so that there is nobody to wait for.
        "scheduled.rebalance.max.delay.ms": 0,
        # Secrets are read from the environment when a connector starts, and stored nowhere.
        "config.providers": "env",
        "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
        "config.providers.env.param.allowlist.pattern": f"{_VARIABLES}.*",
    }
    return "".join(f"{key}={escaped(str(value))}\n" for key, value in properties.items())


def _plugins(settings: Settings) -> Path:
    return settings.home / "run" / "connect-plugins"


def _properties_path(settings: Settings) -> Path:
    return settings.home / "run" / "connect.properties"
