"""Which definitions of the aggregates the stored features were computed by: noted as a property of their tables."""

from __future__ import annotations

from deltalake import DeltaTable

from feature_repo.aggregates import definition_hash
from feature_repo.errors import DefinitionError
from feature_repo.tables import ACTIVITY, DEFINITION_PROPERTY, Table


def check_definition() -> None:
    """Refuse to go on from features of other definitions.

    Raises:
        DefinitionError: says what to do.
    """
    for table in ACTIVITY.values():
        noted = DeltaTable(table.uri).metadata().configuration.get(DEFINITION_PROPERTY)
        if noted != definition_hash():
            raise DefinitionError(
                f"the declared aggregates have changed since {table.name} was computed. "
                "`python -m ingestion backfill --recompute` computes the history of all features anew from the stored "
                "events, while a stream that still has the old definitions goes on; then start the stream again"
            )


def check_columns(table: Table, stored: DeltaTable) -> None:
    """Make sure that every declared column is there.

    Raises:
        DefinitionError: the table was written before one of the declared aggregates was.
    """
    if missing := sorted(set(table.schema.names) - {column.name for column in stored.schema().fields}):
        raise DefinitionError(
            f"{table.name} has no column {', '.join(missing)} yet; "
            "`python -m ingestion backfill --recompute` computes it for all of history"
        )


def note_definition(table: Table, definition: str) -> None:
    """Note that the table was computed by ``definition``, a :func:`definition_hash`."""
    stored = DeltaTable(table.uri)
    stored.alter.set_table_properties({DEFINITION_PROPERTY: definition}, raise_if_not_exists=False)
