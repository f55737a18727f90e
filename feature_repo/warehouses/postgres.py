"""Plain tables in Postgres, which `python -m ingestion publish` fills."""

from __future__ import annotations

from typing import Any

from feast.data_source import DataSource
from feast.infra.offline_stores.contrib.postgres_offline_store import postgres as feast_postgres
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres import (
    PostgreSQLOfflineStore,
    PostgreSQLOfflineStoreConfig,
)
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from pydantic import model_validator

from feature_repo.settings import get_settings
from feature_repo.tables import Table
from feature_repo.warehouses.late import TakesLateRows

# For each row that is asked about, one step down the primary key of the published table. Feast's own pairs it with all
# earlier rows of its key and then picks the newest, which for a long history is thousands of times as many rows.
_NEWEST_PER_MOMENT = """
SELECT "{{ final_output_feature_names | join('", "') }}"
FROM {% if use_cte %}({{ left_table_query_string }}){% else %}{{ left_table_query_string }}{% endif %} AS asked
{% for view in featureviews %}
LEFT JOIN LATERAL (
    SELECT
        {% for feature in view.features %}
        {% set name = view.field_mapping.get(feature, feature) %}
        "{{ feature }}" AS "{% if full_feature_names %}{{ view.name }}__{% endif %}{{ name }}"{{ "" if loop.last else "," }}
        {% endfor %}
    FROM (SELECT *, {{ (view.entity_selections + ["1 AS one"]) | join(", ") | replace('AS "', 'AS "asked_') }}
        FROM {{ view.table_subquery }} AS rows) AS stored
    WHERE "{{ view.timestamp_field }}" <= asked."{{ entity_df_event_timestamp_col }}"
        {% for entity in view.entities %}
        AND "asked_{{ entity }}" = asked."{{ entity }}"
        {% endfor %}
        {% if view.ttl %}
        AND "{{ view.timestamp_field }}" >= asked."{{ entity_df_event_timestamp_col }}" - {{ view.ttl }} * interval '1' second
        {% endif %}
        {% if filter_by_created_timestamp and view.created_timestamp_column %}
        AND "{{ view.created_timestamp_column }}" <= asked."{{ entity_df_event_timestamp_col }}"
        {% endif %}
    ORDER BY "{{ view.timestamp_field }}" DESC
        {%- if view.created_timestamp_column %}, "{{ view.created_timestamp_column }}" DESC{% endif %}
    LIMIT 1
) AS "{{ view.name }}" ON TRUE
{% endfor %}
"""
# A span of time, instead of rows, is left to Feast's own.
feast_postgres.MULTIPLE_FEATURE_VIEW_POINT_IN_TIME_JOIN = (
    "{% if start_date and end_date %}"
    + feast_postgres.MULTIPLE_FEATURE_VIEW_POINT_IN_TIME_JOIN
    + "{% else %}"
    + _NEWEST_PER_MOMENT
    + "{% endif %}"
)


def source(table: Table) -> DataSource:
    """The published table of the same name; Feast looks for it in the schema of the settings."""
    return PostgreSQLSource(
        name=f"{table.name}_table",
        table=table.name,
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        description=table.description,
    )


class OfflineStoreConfig(PostgreSQLOfflineStoreConfig):
    """Feast's Postgres offline store, at the address in Shelfwise's settings."""

    type: str = "feature_repo.warehouses.OfflineStore"  # type: ignore[assignment]

    @model_validator(mode="before")
    @classmethod
    def _from_settings(cls, given: dict[str, Any]) -> dict[str, Any]:
        postgres = get_settings().offline.postgres
        own = {
            "host": postgres.host,
            "port": postgres.port,
            "database": postgres.database,
            "db_schema": postgres.namespace,
            "user": postgres.user,
            "password": postgres.password.get_secret_value(),
            "sslmode": postgres.sslmode,
        }
        return {**own, **given}


class OfflineStore(TakesLateRows, PostgreSQLOfflineStore):
    """Feast's Postgres offline store."""

    source = PostgreSQLSource
