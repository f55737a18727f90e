"""What of the measured state is wrong: pure judgements, from :class:`Measures` to a list of :class:`Check`.

Nothing here reads a server or a table; ``ingestion/health/measures.py`` does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from feature_repo.sections.watching import HealthSettings
from ingestion.health.serving import Answer, Model, Service, model_checks, service_checks
from ingestion.health.status import Check, Status

ENOUGH_KEYS = 0.9  # of the known products; below it, the online store has lost some
_REBUILD = "`python -m ingestion rebuild-online` fills it again from the offline store"
_SEE_STREAM = "see logs/stream.log in SHELFWISE_HOME, and `make status`"


class StreamState(StrEnum):
    """What the stream is doing, as far as files on this machine tell."""

    RUNNING = "running"
    PAUSED = "paused for a batch job"
    DOWN = "not running"


@dataclass(frozen=True)
class Lag:
    """What a table has yet to take from a Kafka partition; the first of these messages arrived ``seconds`` ago."""

    table: str
    partition: int
    messages: int
    seconds: float


@dataclass(frozen=True)
class PartitionTraffic:
    """How many messages a Kafka partition got in the window."""

    partition: int
    messages: int


@dataclass(frozen=True)
class Delay:
    """Seconds from when events happened to when they arrived, over the ``events`` of a source in the window."""

    source: str
    events: int
    median: float
    p95: float


@dataclass(frozen=True)
class View:
    """An online view.

    Attributes:
        name: of the view, and of its offline table.
        rows_offline: whether the offline table has any rows.
        age: seconds since the last push; None if Redis knows of none.
        behind: seconds that the first event which arrived after the last push has been waiting; 0 if there is none.
    """

    name: str
    rows_offline: bool
    age: float | None
    behind: float


@dataclass(frozen=True)
class OnlineKeys:
    """Keys in Redis, and how many it must have at least: one per known product."""

    present: int
    products: int


@dataclass(frozen=True)
class Rate:
    """Events per minute of a feed in the window; ``usual`` is None where there is nothing to compare with (``basis``)."""

    source: str
    event: str
    per_minute: float
    usual: float | None
    basis: str


@dataclass(frozen=True)
class Violations:
    """Events refused for the same reason and field: in the window, and ever."""

    reason: str
    field: str
    recent: int
    total: int


@dataclass(frozen=True)
class ApiPull:
    """How the pull of a resource of an API stands.

    Attributes:
        subject: ``<name of the API>/<resource>``.
        age: seconds since it last came to its end; None if it never did.
        failure: why the last one did not; empty if it did.
        changes: what vanished or changed its type in the records lately.
    """

    subject: str
    age: float | None
    failure: str
    changes: Sequence[str] = ()


@dataclass(frozen=True)
class Measures:
    """The state of the installation at one moment.

    Attributes:
        at: when, in seconds since 1970.
        stream: what the stream is doing.
        unreachable: servers that did not answer, with what to do; what they would have told is missing below.
        accepted: live events in the window, all sources together.
        services: those that are asked over HTTP.
        model: what the service is to answer with; None if there is none.
    """

    at: float
    stream: StreamState
    unreachable: dict[str, str] = field(default_factory=dict)
    lags: Sequence[Lag] = ()
    partitions: Sequence[PartitionTraffic] = ()
    delays: Sequence[Delay] = ()
    views: Sequence[View] = ()
    online_keys: OnlineKeys | None = None
    rates: Sequence[Rate] = ()
    violations: Sequence[Violations] = ()
    pulls: Sequence[ApiPull] = ()
    accepted: int = 0
    services: Sequence[Service] = ()
    model: Model | None = None

    @property
    def up(self) -> dict[str, bool]:
        """What is up, of all that the installation consists of."""
        return {
            **{server: server not in self.unreachable for server in ("kafka", "redis")},
            "stream": self.stream is StreamState.RUNNING,
            **{service.name: service.answer is Answer.READY for service in self.services},
        }


def all_checks(measures: Measures, limits: HealthSettings) -> list[Check]:
    """Every check on ``measures``, in the order in which they are shown."""
    return [
        stream_check(measures.stream),
        *unreachable_checks(measures.unreachable),
        *lag_checks(measures.lags, limits),
        *partition_checks(measures.partitions, limits),
        *delay_checks(measures.delays, limits),
        *view_checks(measures.views, limits),
        *online_key_checks(measures.online_keys),
        *rate_checks(measures.rates, limits),
        *violation_checks(measures.violations, measures.accepted, limits),
        *pull_checks(measures.pulls),
        *service_checks(measures.services),
        *model_checks(measures.model, measures.at, limits),
    ]


def stream_check(state: StreamState) -> Check:
    """Whether the stream runs; one that has stepped aside for a batch job will come back."""
    if state is StreamState.DOWN:
        advice = "features and archive stand still, Kafka keeps what arrives: `make up` starts the stream"
        return Check("stream", "process", Status.ALARM, detail=state.value, advice=f"stream is not running: {advice}")
    status = Status.OK if state is StreamState.RUNNING else Status.NOT_JUDGED
    return Check("stream", "process", status, detail=state.value)


def unreachable_checks(unreachable: dict[str, str]) -> Iterator[Check]:
    """An alarm per server that did not answer."""
    for server, advice in unreachable.items():
        yield Check("server", server, Status.ALARM, detail="does not answer", advice=advice)


def lag_checks(lags: Sequence[Lag], limits: HealthSettings) -> Iterator[Check]:
    """Lag is an alarm if many messages wait and the first has waited long: a burst that is being worked off is none."""
    for lag in lags:
        late = lag.messages > limits.lag_messages and lag.seconds > limits.lag_seconds
        yield Check(
            "lag",
            f"{lag.table}/{lag.partition}",
            Status.ALARM if late else Status.OK,
            lag.messages,
            limits.lag_messages,
            "messages",
            f"waiting for {lag.seconds:.0f} s" if lag.messages else "",
            "the stream does not keep up with Kafka, or hangs: " + _SEE_STREAM if late else "",
        )


def partition_checks(partitions: Sequence[PartitionTraffic], limits: HealthSettings) -> Iterator[Check]:
    """A partition without messages is an alarm while the others get plenty."""
    total = sum(partition.messages for partition in partitions)
    for partition in partitions:
        others = (total - partition.messages) / (len(partitions) - 1) if len(partitions) > 1 else 0.0
        silent = partition.messages == 0
        quiet = silent and others >= limits.partition_min_events
        yield Check(
            "partition",
            str(partition.partition),
            Status.ALARM if quiet else Status.NOT_JUDGED if silent else Status.OK,
            partition.messages,
            1,
            "messages",
            f"in {limits.window_minutes:g} min; the others {others:.0f} on average",
            "Kafka partition without messages while the others get some: look at the broker's log and at the producers"
            if quiet
            else "",
        )


def delay_checks(delays: Sequence[Delay], limits: HealthSettings) -> Iterator[Check]:
    """Events that arrive long after they happened make features stale, however fast the stream is."""
    for delay in delays:
        judged = delay.events >= limits.min_events
        late = judged and delay.p95 > limits.event_delay_seconds
        yield Check(
            "event delay",
            delay.source,
            Status.ALARM if late else Status.OK if judged else Status.NOT_JUDGED,
            delay.p95,
            limits.event_delay_seconds,
            "s",
            f"p95 of {delay.events} events; median {delay.median:.1f} s",
            "events arrive long after they happened: a tracker or server held them back, its clock is wrong, or old "
            "events are being replayed"
            if late
            else "",
        )


def view_checks(views: Sequence[View], limits: HealthSettings) -> Iterator[Check]:
    """A view is late only if there is something that it should show: a quiet night is no alarm."""
    for view in views:
        if view.age is None:
            lost = view.rows_offline
            yield Check(
                "freshness",
                view.name,
                Status.ALARM if lost else Status.NOT_JUDGED,
                detail="never pushed",
                advice=f"the online store has lost this view: {_REBUILD}" if lost else "",
            )
            continue
        late = view.behind > limits.view_seconds
        yield Check(
            "freshness",
            view.name,
            Status.ALARM if late else Status.OK,
            view.behind,
            limits.view_seconds,
            "s behind",
            f"last push {view.age:.0f} s ago",
            "news has arrived that the online store does not show: " + _SEE_STREAM if late else "",
        )


def online_key_checks(keys: OnlineKeys | None) -> Iterator[Check]:
    """A Redis that was emptied under a running stream has fresh pushes, but few keys."""
    if keys is None:
        return
    limit = keys.products * ENOUGH_KEYS
    lost = keys.present < limit
    yield Check(
        "online store",
        "redis",
        Status.ALARM if lost else Status.OK,
        keys.present,
        limit,
        "keys",
        f"{keys.products} products known",
        f"the online store has lost rows (emptied, or out of memory): {_REBUILD}" if lost else "",
    )


def rate_checks(rates: Sequence[Rate], limits: HealthSettings) -> Iterator[Check]:
    """A feed far below its usual rate is an alarm, if it is usually large enough to tell."""
    for rate in rates:
        usual = rate.usual or 0.0
        judged = usual * limits.window_minutes >= limits.quiet_min_events
        limit = usual * limits.quiet_share
        quiet = judged and rate.per_minute < limit
        yield Check(
            "events",
            f"{rate.source}: {rate.event}",
            Status.ALARM if quiet else Status.OK if judged else Status.NOT_JUDGED,
            rate.per_minute,
            limit if judged else None,
            "per min",
            rate.basis if rate.usual is None else f"usual {usual:.1f} ({rate.basis})",
            "far fewer events than usual: see whether the tracker, the collector or the shop is down, or has changed"
            if quiet
            else "",
        )


def violation_checks(violations: Sequence[Violations], accepted: int, limits: HealthSettings) -> Iterator[Check]:
    """A reason and field is an alarm above a share of all events that arrived in the window."""
    arrived = accepted + sum(violation.recent for violation in violations)
    for violation in violations:
        if not violation.recent:
            continue
        share = violation.recent / arrived
        many = violation.recent >= limits.violation_min_events and share > limits.violation_share
        yield Check(
            "schema",
            f"{violation.reason} {violation.field or '-'}",
            Status.ALARM if many else Status.OK,
            share * 100,
            limits.violation_share * 100,
            "%",
            f"{violation.recent} events in {limits.window_minutes:g} min",
            "events break the contract (docs/events.md): fix the sender; the quarantine table keeps them with reasons"
            if many
            else "",
        )


def pull_checks(pulls: Sequence[ApiPull]) -> Iterator[Check]:
    """A pull that failed last, or whose records have changed, is an alarm; how often to pull is nobody's business here."""
    for pull in pulls:
        wrong = [pull.failure] if pull.failure else []
        if pull.changes:
            wrong.append(
                f"fields of the records are not what they were ({'; '.join(pull.changes)}): see that the mapping still fits"
            )
        yield Check(
            "pull",
            pull.subject,
            Status.ALARM if wrong else Status.OK,
            pull.age,
            unit="s ago",
            detail="" if pull.age is not None else "never came to its end",
            advice="; ".join(wrong),
        )
