"""What `feast materialize` has to look at: Feast's own stores look at the time that a row is about, and nothing else.

A row that a late event gave is about a time which has been materialised before, and would never come online. So the rows
that were written since a materialisation began are taken as well, however old they are. What is older than the online value
is refused there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from feast import RepoConfig
from feast.data_source import DataSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob

from feature_repo.settings import get_settings

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def span(start: datetime) -> tuple[datetime, datetime]:
    """From when on rows must be about, or else must have been written.

    Both in UTC: `feast materialize` names the machine's zone, which not every engine knows.
    """
    begin = start.astimezone(UTC)
    return begin, begin - timedelta(seconds=get_settings().offline.materialize_overlap_seconds)


class TakesLateRows(OfflineStore):
    """Makes a store of Feast's that asks by SQL look at rows that were written late, too; stands before it in the bases.

    Attributes:
        source: makes Feast's kind of source for this store.
        moment: how the warehouse writes a moment, given in ISO 8601.
        column: how it writes the name of a column.
    """

    source: ClassVar[type[Any]]
    moment: ClassVar[str] = "TIMESTAMPTZ '{}'"
    column: ClassVar[str] = "{}"

    @classmethod
    def pull_latest_from_table_or_query(
        cls,
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each key among those of a time, and those written since it began."""
        begin, since = (cls.moment.format(moment.isoformat(" ", "microseconds")) for moment in span(start_date))
        about = cls.column.format(timestamp_field)
        written = cls.column.format(created_timestamp_column) if created_timestamp_column else about
        stored = data_source.get_table_query_string()
        late = cls.source(
            name=data_source.name,
            query=f"SELECT * FROM {stored} AS stored WHERE {about} >= {begin} OR {written} >= {since}",
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
        )
        return super().pull_latest_from_table_or_query(
            config,
            late,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            BEGINNING,
            end_date,
        )
