"""What the stack consists of: each service's command, addresses, needs and sign of readiness."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy import connect_worker, kafka_broker, probes, redis_server
from deploy.java import java_command
from deploy.ports import Listener
from deploy.probes import Readiness
from deploy.records import Record
from deploy.tasks import Task
from feature_repo.settings import PROJECT_ROOT, Settings

TRAFFIC_PER_SECOND = 50
# What `up --with` starts beside the services of every day.
EXTRAS = {"cdc": ("connect", "cdc")}


@dataclass(frozen=True)
class Service:
    """One long-running part of the stack.

    Attributes:
        stage: services of one stage start side by side, after those of lower stages are ready.
        address: what to tell people about where it is.
        probe: asks it whether it is ready, given its pid record.
        command: its command line.
        elsewhere: the setting that names somebody else's server; if not empty, it is not started, only reached.
        check: raises what is missing on this machine to run it, before anything is started.
        prepare: writes its configuration and returns what must be run to the end before it starts.
        everyday: whether a plain `up` starts it.
        environment: variables that its process needs beside those of this one.
    """

    name: str
    stage: int
    address: str
    probe: Callable[[Record | None], Readiness]
    command: Callable[[], list[str]]
    elsewhere: str = ""
    listeners: tuple[Listener, ...] = ()
    check: Callable[[], object] = lambda: None
    prepare: Callable[[], list[Task]] = list
    everyday: bool = True
    environment: Callable[[], dict[str, str]] = dict


def all_services(settings: Settings) -> dict[str, Service]:
    """Every service by name, in the order in which they start."""
    declare = (_kafka, _redis, _collector, _stream, _serving, _connect, _cdc, _traffic)
    return {service.name: service for service in (one(settings) for one in declare)}


def feast_apply() -> Task:
    """Registers the feature definitions; the stream and the service read the registry when they start."""
    return Task("feast-apply", feast("apply"))


def feast(*arguments: str) -> list[str]:
    """Command line of Feast's own command on this project's feature repository."""
    return [str(Path(sys.executable).with_name("feast")), "-c", str(PROJECT_ROOT / "feature_repo"), *arguments]


def serving_listener(settings: Settings) -> Listener:
    return Listener("serving", settings.serving.host, settings.serving.port, "SHELFWISE_SERVING__PORT")


def collector_listener(settings: Settings) -> Listener:
    return Listener("collector", settings.collector.host, settings.collector.port, "SHELFWISE_COLLECTOR__PORT")


def python_module(*arguments: str) -> list[str]:
    """Command line of one of the project's own commands."""
    return [sys.executable, "-m", *arguments]


def _kafka(settings: Settings) -> Service:
    kafka = settings.kafka
    return Service(
        name="kafka",
        stage=1,
        address=kafka.servers,
        probe=lambda _: probes.kafka(kafka),
        command=lambda: kafka_broker.command(settings),
        elsewhere="" if kafka.embedded else "SHELFWISE_KAFKA__BOOTSTRAP",
        listeners=(
            Listener("kafka", kafka.host, kafka.port, "SHELFWISE_KAFKA__PORT"),
            Listener("kafka", kafka.host, kafka.controller_port, "SHELFWISE_KAFKA__CONTROLLER_PORT"),
        ),
        check=lambda: kafka_broker.check(settings),
        prepare=lambda: kafka_broker.prepare(settings),
    )


def _redis(settings: Settings) -> Service:
    redis = settings.redis
    return Service(
        name="redis",
        stage=1,
        address=redis.address,
        probe=lambda _: probes.redis(redis),
        command=lambda: redis_server.command(settings),
        elsewhere="" if redis.embedded else "SHELFWISE_REDIS__URL",
        listeners=(Listener("redis", redis.host, redis.port, "SHELFWISE_REDIS__PORT"),),
        check=lambda: redis_server.find_server(settings),
        prepare=lambda: redis_server.prepare(settings),
    )


def _collector(settings: Settings) -> Service:
    listener = collector_listener(settings)
    return Service(
        name="collector",
        stage=2,
        address=listener.url,
        probe=lambda _: probes.http(listener, ready="/health"),
        command=lambda: python_module("ingestion", "collector"),
        listeners=(listener,),
    )


def _stream(settings: Settings) -> Service:
    ready = settings.home / "run" / "stream.ready"
    health = settings.health
    metrics = Listener("stream", health.host, health.port, "SHELFWISE_HEALTH__PORT")
    return Service(
        name="stream",
        stage=2,
        address=metrics.url if health.port else "-",
        probe=lambda record: probes.fresh_file(ready, record),
        command=lambda: python_module("ingestion", "stream"),
        listeners=(metrics,) if health.port else (),
        check=java_command,
    )


def _serving(settings: Settings) -> Service:
    listener = serving_listener(settings)
    return Service(
        name="serving",
        stage=2,
        address=listener.url,
        probe=lambda _: probes.http(listener, ready="/readyz", alive="/livez"),
        command=lambda: python_module("serving"),
        listeners=(listener,),
    )


def _connect(settings: Settings) -> Service:
    connect = settings.connect
    listener = Listener("connect", connect.host, connect.port, "SHELFWISE_CONNECT__PORT")
    return Service(
        name="connect",
        stage=2,
        address=connect.address,
        probe=lambda _: probes.connect(connect.address),
        command=lambda: connect_worker.command(settings),
        elsewhere="SHELFWISE_CONNECT__URL" if connect.url else "",
        listeners=(listener,),
        check=lambda: connect_worker.check(settings),
        prepare=lambda: connect_worker.prepare(settings),
        everyday=False,
        environment=lambda: connect_worker.environment(settings),
    )


def _cdc(settings: Settings) -> Service:
    ready = settings.home / "run" / "cdc.ready"
    return Service(
        name="cdc",
        stage=3,
        address=f"from {settings.cdc.topic}.*",
        probe=lambda record: probes.fresh_file(ready, record),
        command=lambda: python_module("ingestion", "cdc"),
        check=lambda: connect_worker.check_mapping(settings),
        prepare=lambda: [Task("connect-apply", python_module("ingestion", "connect", "apply"))],
        everyday=False,
    )


def _traffic(settings: Settings) -> Service:
    return Service(
        name="traffic",
        stage=3,
        address=f"to {collector_listener(settings).url}",
        probe=lambda record: Readiness.READY if record and record.process() else Readiness.NOT_READY,
        command=lambda: python_module("ingestion", "simulate", "live", "--rate", str(TRAFFIC_PER_SECOND)),
        everyday=False,
    )
