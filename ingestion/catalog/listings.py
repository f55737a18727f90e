"""Which products the files of catalogues list, so that those that vanish from a full catalogue are noticed.

A listing counts if the catalogue table remembers its number: that is committed together with the rows, so that a load that was
killed in between leaves the listing before it in force.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from feature_repo.errors import InputError
from feature_repo.tables import CATALOG, CATALOG_LISTINGS
from ingestion.catalog.sources import Part, Remembered
from ingestion.replacing import replace

_PREFIX = "catalog-listed:"
_LOADED = "catalog:"


class Listings:
    """What files listed when they were last loaded.

    Args:
        remembered: versions of the catalogue table's transactions.
    """

    def __init__(self, remembered: Remembered) -> None:
        CATALOG_LISTINGS.create_if_missing()
        table = DeltaTable(CATALOG_LISTINGS.uri).to_pyarrow_dataset()
        stored = table.to_table(columns=["file", "number", "snapshot"]).to_pylist()
        self._table, self._remembered = table, remembered
        self._numbers = {
            row["file"]: row["number"] for row in stored if remembered(_PREFIX + row["file"]) == row["number"]
        }
        self._full = {
            row["file"] for row in stored if row["snapshot"] and self._numbers.get(row["file"]) == row["number"]
        }

    def loaded(self, app_id: str, snapshot: bool) -> int | None:
        """The version of a transaction, unless it is of a file that has yet to be listed, or to be taken for full."""
        file = app_id.partition(":")[2]
        return self._remembered(app_id) if file in (self._full if snapshot else self._numbers) else None

    def of(self, place: str) -> set[str]:
        """The files that were listed of a place."""
        return {file for file in self._numbers if file == place or file.startswith((f"{place}/", f"{place}#"))}

    def products(self, files: Iterable[str]) -> set[str]:
        """What some files list together."""
        wanted = {file: self._numbers[file] for file in files if file in self._numbers}
        chosen = pc.field("number").isin(pa.array(set(wanted.values()), pa.int64()))
        rows = self._table.to_table(columns=["file", "number", "product_ids"], filter=chosen).to_pylist()
        return {product for row in rows if wanted.get(row["file"]) == row["number"] for product in row["product_ids"]}

    def still_listed(self, products: set[str], place: str) -> set[str]:
        """Those products that a full catalogue elsewhere lists."""
        return products & self.products(self._full - self.of(place)) if products else set()

    def write(self, listed: Mapping[str, set[str]], vanished: Iterable[str], snapshot: bool) -> dict[str, int]:
        """Store what files list now; gives what is to be remembered for it to count.

        Args:
            listed: products by file. Without ``snapshot``, what a file listed before stays in its listing.
            vanished: files that are gone; should one come back as it was, it is read again.
        """
        number, rows, marks = time.time_ns() // 1000, [], {}
        for file, products in listed.items():
            before = self.products([file])
            products = products if snapshot else products | before
            if products != before or (file in self._full) != snapshot or file not in self._numbers:
                rows.append({"file": file, "number": number, "snapshot": snapshot, "product_ids": sorted(products)})
                marks[_PREFIX + file] = number
        if rows:
            write_deltalake(CATALOG_LISTINGS.uri, pa.Table.from_pylist(rows, CATALOG_LISTINGS.schema), mode="append")
        for file in vanished:
            marks |= {_PREFIX + file: 0, _LOADED + file: 0}
        return marks


def forget_listings(before: datetime) -> None:
    """Delete listings that were written before a moment and do not count any more."""
    remembered = DeltaTable(CATALOG.uri).transaction_version
    rows = DeltaTable(CATALOG_LISTINGS.uri).to_pyarrow_table(columns=["file", "number"]).to_pylist()
    old = {row["number"] for row in rows if row["number"] < before.timestamp() * 1e6}
    count = {row["number"] for row in rows if remembered(_PREFIX + row["file"]) == row["number"]}
    if unused := old - count:
        replace(CATALOG_LISTINGS, f"number IN ({', '.join(map(str, sorted(unused)))})")


def gone(
    listings: Listings, place: str, present: frozenset[str], listed: Mapping[str, set[str]], most: float | None
) -> tuple[set[str], int]:
    """What a full catalogue listed before and no full catalogue lists now; and how many are only listed by another one.

    Args:
        present: all files that it has now.
        listed: products of those that have just been read, by file.
        most: largest share of its products that it may lose; None: any.

    Raises:
        InputError: it has lost more.
    """
    before = listings.products(listings.of(place))
    now = listings.products(present - listed.keys()).union(*listed.values())
    lost = before - now
    if most is not None and lost and (not now or len(lost) > most * len(before)):
        examples = ", ".join(sorted(lost)[:3])
        raise InputError(
            f"{place} lists {len(now):,} products, {len(lost):,} of the {len(before):,} before are gone ({examples}, ...): more "
            f"than {most:.0%} looks like a half-written catalogue, so nothing was loaded. If it is right, load it once with "
            "--allow-removals; if it does not list all products, load it with --no-snapshot"
        )
    kept = listings.still_listed(lost, place)
    return lost - kept, len(kept)


def listed_by(read: Iterable[tuple[Part, pa.Table]]) -> dict[str, set[str]]:
    """The products that parts list, by file.

    Raises:
        InputError: one cannot be read.
    """
    return {part.key: part.ids(rows) for part, rows in read}
