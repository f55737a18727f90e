"""Why a connector does not run: the last cause of a Java trace, and what to do about it."""

from __future__ import annotations

import re

_CAUSED_BY = "Caused by: "
_CLASS = re.compile(r"^(?:[a-z_][\w]*\.)+([A-Z][\w$]*): ")
_RESTART = (
    "then restart the worker, which reads them when it starts (`python -m deploy down connect`, `make up WITH=cdc`)"
)
# What the messages of Postgres, its driver, Debezium and Connect have in common, and the advice.
_ADVICE = (
    (
        r"Could not resolve|\$\{env:",
        "the worker needs config.providers=env, and the SHELFWISE_CDC__... variables in its environment",
    ),
    (
        r"password authentication failed|no password was provided|The server requested .*password",
        f"see that SHELFWISE_CDC__USER and SHELFWISE_CDC__PASSWORD are right, {_RESTART}",
    ),
    (
        r"Connection to .* refused|UnknownHost|connection attempt failed|timed out",
        f"see that Postgres runs there, and that SHELFWISE_CDC__HOST and SHELFWISE_CDC__PORT are right, {_RESTART}",
    ),
    (r'database ".*" does not exist', f"see that SHELFWISE_CDC__DATABASE is right, {_RESTART}"),
    (r"wal_level|logical decoding requires", "run `ALTER SYSTEM SET wal_level = logical` in Postgres, and restart it"),
    (
        r"must be superuser|REPLICATION|permission denied|must be owner|[Pp]ublication",
        "run in Postgres what `python -m ingestion cdc --check` prints",
    ),
    (
        r"replication slot .* is active",
        "another connector reads from the slot; end that, or give the mapping another name",
    ),
    (r"all replication slots are in use", "raise max_replication_slots in Postgres, or drop a slot that nobody uses"),
    (
        r"Failed to find any class|ClassNotFound",
        "the worker lacks the plugin: `make up WITH=cdc` fetches Debezium; on a worker "
        "elsewhere, install debezium-connector-postgres",
    ),
)


def root_cause(trace: str) -> str:
    """The innermost cause of a Java trace, in one line without the class that threw it."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    if not lines:
        return "Connect does not say why"
    causes = [line.removeprefix(_CAUSED_BY) for line in lines if line.startswith(_CAUSED_BY)]
    said = causes[-1] if causes else lines[0]
    while short := _CLASS.match(said):
        said = said[short.end() :] or short[1]
    return said


def explained(cause: str) -> str:
    """A cause with what to do about it, where that is known."""
    for pattern, advice in _ADVICE:
        if re.search(pattern, cause):
            return f"{cause.rstrip('.')}: {advice}"
    return cause
