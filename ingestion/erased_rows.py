"""How many events of erased customers a table once held, so that the ledger's numbers can still be checked.

The commit that deletes them carries the new total, as a transaction of Delta's protocol: both are there, or neither.
"""

from __future__ import annotations

from deltalake import DeltaTable, Transaction

from feature_repo.tables import ITEM_ACTIVITY

FILES = "files"
_ITEMS = "shelfwise.erased"


def counted_apart(source: str, partition: int | None) -> str:
    """What events are counted by: the topic that they came through, or :data:`FILES`."""
    return FILES if partition is None else source


def erased_rows(stored: DeltaTable, group: str) -> int:
    """How many events of a group of :func:`counted_apart` have been erased."""
    return stored.transaction_version(_app_id(group)) or 0


def note_erased(group: str, total: int) -> Transaction:
    """What the commit must carry that makes it so many."""
    return Transaction(_app_id(group), total)


def note_items_with_erased() -> None:
    """Note that the sums of items count events that are no longer stored: sums tell of nobody, so they are left alone."""
    _note_items("some")


def note_items_without_erased() -> None:
    """Note that they were computed anew without."""
    if items_with_erased():
        _note_items("none")


def items_with_erased() -> bool:
    """Whether the sums of items count events that are no longer stored."""
    return DeltaTable(ITEM_ACTIVITY.uri).metadata().configuration.get(_ITEMS) == "some"


def _note_items(which: str) -> None:
    DeltaTable(ITEM_ACTIVITY.uri).alter.set_table_properties({_ITEMS: which}, raise_if_not_exists=False)


def _app_id(group: str) -> str:
    return f"erased:{group}"
