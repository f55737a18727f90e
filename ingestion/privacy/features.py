"""The features that rested on erased events: computed anew from what is left, offline and online."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from redis.exceptions import ResponseError

from feature_repo.errors import UnavailableError
from feature_repo.online.redis_client import REDIS_ERRORS
from feature_repo.tables import CUSTOMER_ACTIVITY, Table
from ingestion import sql
from ingestion.features import history
from ingestion.online import OnlineStore
from ingestion.privacy.spans import Theirs
from ingestion.replacing import replace
from ingestion.session import work_folder

log = logging.getLogger(__name__)


def recompute(theirs: Theirs) -> dict[Table, pa.Table]:
    """Let the stored rows of all ids concerned hold what the events left say; gives these rows.

    Most often nothing is left, and so no rows. On a shared device the others' rows are made again.
    """
    with tempfile.TemporaryDirectory(prefix="history-", dir=work_folder()) as place:
        computed = history.compute_of_customers(theirs.affected, Path(place))
    for table, rows in computed.items():
        replace(table, sql.one_of("customer_id", theirs.affected), rows)
    return computed


def erase_online(online: OnlineStore, ids: Iterable[str]) -> int:
    """Delete what the online store holds of some ids; gives of how many it held something.

    Raises:
        UnavailableError: it does not answer.
    """
    try:
        return online.delete(CUSTOMER_ACTIVITY, sorted(ids))
    except REDIS_ERRORS as error:
        raise UnavailableError(f"the online store cannot be used: {error}") from error


def bring_online(online: OnlineStore, computed: dict[Table, pa.Table]) -> None:
    """Write the newest of the rows of :func:`recompute`.

    Raises:
        UnavailableError: the online store does not answer.
    """
    for table, rows in computed.items():
        key = table.schema.names[0]
        ordered = rows.sort_by([("event_timestamp", "ascending"), ("created", "ascending")])
        newest = {id_: place for place, id_ in enumerate(ordered[key].to_pylist())}
        latest = ordered.take(pa.array(sorted(newest.values()), pa.int64()))
        try:
            if latest.num_rows:
                online.push(table, latest)
        except REDIS_ERRORS as error:
            raise UnavailableError(f"the online store cannot be used: {error}") from error


def forget_online(online: OnlineStore) -> None:
    """Let the server's files on disk hold no more than its memory does.

    Raises:
        UnavailableError: the online store does not answer.
    """
    try:
        online.rewrite_files()
    except ResponseError as error:  # as of servers that others look after
        log.warning("the online store's server writes its files anew when it does by itself: %s", error)
    except REDIS_ERRORS as error:
        raise UnavailableError(f"the online store cannot be used: {error}") from error
