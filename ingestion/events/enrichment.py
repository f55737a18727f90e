"""Filling in what trackers leave out of a product from the catalogue."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.tables import PRODUCT
from ingestion.catalog import store as catalog_store

FILLED = ("name", "category", "brand", "price")


def enriched(events: pa.Table) -> pa.Table:
    """``events``, rows of the events table, with each product's missing fields as the catalogue has them now."""
    products = events["products"].combine_chunks()
    flat = pc.list_flatten(products)
    fields = {name: pc.struct_field(flat, name) for name in PRODUCT.names}
    if not any(fields[name].null_count for name in FILLED):
        return events
    catalog = catalog_store.current_rows()
    row = pc.index_in(fields["product_id"], value_set=catalog["product_id"].combine_chunks())
    for name in FILLED:
        known = catalog[name].combine_chunks().take(row)
        fields[name] = pc.coalesce(fields[name], known.cast(PRODUCT.field(name).type))
    filled = pa.StructArray.from_arrays([fields[name] for name in PRODUCT.names], fields=list(PRODUCT))
    lengths = pc.fill_null(pc.list_value_length(products), 0)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths.to_numpy())]), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, filled, type=products.type, mask=products.is_null())
    return events.set_column(events.schema.get_field_index("products"), events.schema.field("products"), lists)
